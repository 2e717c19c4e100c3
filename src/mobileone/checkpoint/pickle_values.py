"""What a pickle of torch's becomes here: names, records and references, all inert. Imports no torch."""

from __future__ import annotations

import math
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
REBUILD_TENSOR = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
REBUILD_PARAMETER = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")

# Foreign objects that real checkpoints hold beside their tensors; each becomes an inert Record.
KNOWN_GLOBALS = {
    *STORAGE_TYPES,
    *REBUILD_TENSOR,
    *REBUILD_PARAMETER,
    *(f"torch.{name}" for name in TORCH_NAMES.values()),
    *("torch.Size", "torch.device"),
    *("collections.OrderedDict", "collections.defaultdict", "collections.Counter", "collections.deque"),
    *("argparse.Namespace", "types.SimpleNamespace", "copyreg._reconstructor", "_codecs.encode"),
    *(f"builtins.{name}" for name in ("set", "frozenset", "dict", "list", "tuple", "object", "getattr")),
    *(f"builtins.{name}" for name in ("slice", "complex", "int", "float", "str", "bool", "bytearray")),
    *(
        f"numpy{core}.multiarray.{name}"
        for core in (".core", "._core")
        for name in ("_reconstruct", "scalar")
    ),
    *("numpy.ndarray", "numpy.dtype", "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"),
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
}
KNOWN_PACKAGES = (
    "nets.",
    "utils.",
    "torch.nn.",
    "torch.optim.",
    "timm.",
    "mmengine.",
    "mmcv.",
    "mmpretrain.",
    "mmcls.",
)


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a foreign class or function; never looked up."""

    name: str


@dataclass(slots=True, eq=False)
class Record:
    """A foreign object as it was pickled: the name of its class, arguments, state, items. Does nothing."""

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A block of `numel` elements of one type, by its key in the file."""

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
