"""One executed operator as data: what it is, what it reads and writes, what it took. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

# The operator types of the report are Caffe2's, under which its figures are known; any other ONNX name stays.
REPORT_NAMES = {
    "BatchNormalization": "SpatialBN",
    "Gemm": "FC",
    "GlobalAveragePool": "AveragePool",
    "Unsqueeze": "ExpandDims",
}


# The layer of what a model does itself, outside of its modules.
ROOT_LAYER = "(model)"


@dataclass(frozen=True, slots=True)
class Operand:
    """Shape and type of one tensor that an operator reads or writes.

    Attributes:
        shape: dimensions, outermost first.
        dtype: NumPy's name of the element type.
        is_parameter: a constant of the model (weight, bias, statistic), not computed from the input.

    >>> Operand((1, 3, 8, 8)).size_bytes
    768
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    is_parameter: bool = False

    @property
    def numel(self) -> int:
        """How many elements it has."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes. int64 counts 4 an element: those are shapes and indices, which Caffe2 keeps as int32."""
        return self.numel * ELEMENT_BYTES.get(self.dtype, 4)


ELEMENT_BYTES = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "bfloat16": 2,
    "float64": 8,
    "complex64": 8,
}


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a network as a runtime executed it.

    Attributes:
        name: unique in its network.
        kind: operator type, Caffe2's name where the report has one, else the runtime's own.
        layer: dotted name of the module it belongs to; its own name where the model says nothing.
        inputs: tensors read, features and parameters, in the order of ONNX's operator.
        outputs: tensors written.
        time_ms: measured, milliseconds a run; None for an operator that the clock did not execute by itself.
    """

    name: str
    kind: str
    layer: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    time_ms: float | None = None

    @property
    def is_global_pool(self) -> bool:
        """Whether an AveragePool covers the whole map, leaving one value a channel."""
        return self.kind == "AveragePool" and prod(self.outputs[0].shape[2:]) == 1


def stage_of(layer: str) -> str:
    """The part of a network that a layer belongs to: its first name, with the index behind it if any.

    >>> stage_of("stages.0.3.reparam_conv"), stage_of("layer1.0.conv1"), stage_of("head.fc")
    ('stages.0', 'layer1', 'head')
    """
    first, _, rest = layer.partition(".")
    index = rest.partition(".")[0]
    return f"{first}.{index}" if index.isdigit() and not first[-1:].isdigit() else first
