"""What a pickle of torch's becomes here: names, records and references, all inert. Imports no torch."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass, field
from typing import Any

# Names and sizes of the element types, as safetensors writes them.
ITEM_SIZES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
TORCH_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
STORAGE_TYPES = {
    "torch.DoubleStorage": "F64",
    "torch.FloatStorage": "F32",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "I64",
    "torch.IntStorage": "I32",
    "torch.ShortStorage": "I16",
    "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8",
    "torch.BoolStorage": "BOOL",
    "torch.storage.UntypedStorage": "U8",
}
# Elements that no network of ours has: how long they are, to find what stands behind them in an old file.
OTHER_SIZES = {
    "torch.ComplexFloatStorage": 8,
    "torch.ComplexDoubleStorage": 16,
    "torch.QInt8Storage": 1,
    "torch.QUInt8Storage": 1,
    "torch.QInt32Storage": 4,
    "torch.QUInt4x2Storage": 1,
    "torch.QUInt2x4Storage": 1,
}
REBUILD_TENSOR = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
# For element types that have no storage of their own: storage, offset, shape, stride, …, …, element type.
REBUILD_ANY_TYPE = "torch._utils._rebuild_tensor_v3"
# A tensor with attributes: how to rebuild it, its class, the arguments, the attributes.
REBUILD_WITH_ATTRIBUTES = "torch._tensor._rebuild_from_type_v2"
REBUILD_PARAMETER = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")

# Nothing that a pickle names is ever looked up, so any class of another package may be named: it becomes an
# inert Record. Of Python itself, torch and NumPy only what checkpoints hold is let through: what else they
# are asked for is an attack on those who do look it up, and a file that has one is no file to trust.
GUARDED_PACKAGES = frozenset(
    {*sys.stdlib_module_names, "torch", "numpy", "mobileone"}
    | {"commands", "popen2", "cPickle", "urllib2", "os2emxpath", "setuptools", "pkg_resources", "pip"}
)
KNOWN_GLOBALS = {
    *("torch.Size", "torch.device", "torch.Tensor", "torch.Generator", "torch._C.Generator"),
    *("torch.strided", "torch.per_tensor_affine", "torch.per_channel_affine", "torch.storage.UntypedStorage"),
    *("torch.serialization._get_layout", "torch.bool", "torch.half", "torch.bfloat16", "torch.long"),
    REBUILD_WITH_ATTRIBUTES,
    *("argparse.Namespace", "types.SimpleNamespace", "copyreg._reconstructor", "_codecs.encode"),
    *(f"builtins.{name}" for name in ("set", "frozenset", "dict", "list", "tuple", "object", "getattr")),
    *(f"builtins.{name}" for name in ("slice", "complex", "int", "float", "str", "bool", "bytearray")),
    *(f"builtins.{name}" for name in ("bytes", "long", "unicode", "range", "xrange", "type", "Ellipsis")),
    *(
        "_operator.getitem",
        "_operator.or_",
        "builtins.reduce",
        "functools.reduce",
        "functools.partial",
        "dataclasses._MISSING_TYPE",
        "time.struct_time",
    ),
    *("random.Random", "re._compile", "http.HTTPStatus"),
    *(
        f"numpy{core}.multiarray.{name}"
        for core in (".core", "._core")
        for name in ("_reconstruct", "scalar")
    ),
    *("numpy.ndarray", "numpy.dtype", "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"),
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
}
KNOWN_PACKAGES = (
    *("torch.nn.", "torch.optim.", "torch.amp.", "torch.cuda.amp.", "numpy.random.", "numpy.dtypes."),
    *("mobileone.model.", "mobileone.variants.", "mobileone.input_spec.", "mobileone.decision."),
    *("collections.", "datetime.", "decimal.", "fractions.", "uuid.", "enum.", "zoneinfo.", "typing."),
)
# Storages, element types and ways to rebuild a tensor are many, and grow with torch.
KNOWN_PATTERN = re.compile(
    r"torch\.(cuda\.)?\w+Storage|torch\.(complex|float|u?int|qu?int|bits)\d\w*|torch\._utils\._rebuild_\w+"
)


def is_inert(name: str) -> bool:
    """Whether a pickle may name this class or function: what it makes of it is a record, whatever it is.

    >>> is_inert("omegaconf.dictconfig.DictConfig"), is_inert("torch.float32"), is_inert("os.system")
    (True, True, False)
    """
    if name in KNOWN_GLOBALS or name.startswith(KNOWN_PACKAGES) or KNOWN_PATTERN.fullmatch(name):
        return True
    return name.partition(".")[0] not in GUARDED_PACKAGES


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a foreign class or function; never looked up."""

    name: str


@dataclass(slots=True, eq=False, repr=False)
class Record:
    """A foreign object as it was pickled: the name of its class, arguments, state, items. Does nothing."""

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)

    def __repr__(self) -> str:  # without what it holds, which may hold one another many times over
        return f"<{self.name}>"


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A block of `numel` elements of one type, by its key in the file.

    The type is one of `ITEM_SIZES`, or torch's name of one that no network of ours has.
    """

    key: str
    dtype: str
    numel: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor that has not been read yet: a view into a storage, in elements."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """Element type, under safetensors' name."""
        return self.storage.dtype

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_readable(self) -> bool:
        """Whether its elements are of a type that is read here."""
        return self.dtype in ITEM_SIZES
