"""How operators are counted, under the names of those who count so. Imports no torch.

`caffe2` is the cost functions of Caffe2's operators (BenchmarkNet's report), `fvcore` its default handles,
`macs` multiply-accumulates and nothing else. docs/cost.md tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Literal

from mobileone.profiling.operator import Operator

Convention = Literal["caffe2", "fvcore", "macs"]
Rule = Callable[[Operator], int]

# Where an operator keeps its weight among its inputs.
WEIGHT_INDEX = {"QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3}


def _convolution_macs(op: Operator) -> int:
    # A weight is (C_out, C_in / groups, *kernel): each output element takes one product an element of a row.
    return op.outputs[0].numel * prod(op.inputs[WEIGHT_INDEX.get(op.kind, 1)].shape[1:])


def _transposed_macs(op: Operator) -> int:
    # Here the weight is (C_in, C_out / groups, *kernel), and it is the input's elements that are spread.
    return op.inputs[0].numel * prod(op.inputs[1].shape[1:])


def _fc_macs(op: Operator) -> int:
    rows = op.outputs[0].shape[0]
    return op.outputs[0].numel * (op.inputs[0].numel // max(rows, 1))


def _matmul_macs(op: Operator) -> int:
    return op.outputs[0].numel * op.inputs[0].shape[-1]


def _attention_macs(op: Operator) -> int:
    # (batch, heads, length, dim) each: queries × keys, then weights × values.
    queries, keys, values = (tensor.shape for tensor in op.inputs[:3])
    return prod(queries[:-1]) * keys[-2] * (queries[-1] + values[-1])


MACS: dict[str, Rule] = {
    "Conv": _convolution_macs,
    "FusedConv": _convolution_macs,
    "ConvInteger": _convolution_macs,
    "QLinearConv": _convolution_macs,
    "ConvTranspose": _transposed_macs,
    "FC": _fc_macs,
    "FusedGemm": _fc_macs,
    "QGemm": _fc_macs,
    "MatMul": _matmul_macs,
    "FusedMatMul": _matmul_macs,
    "MatMulInteger": _matmul_macs,
    "QLinearMatMul": _matmul_macs,
    "Attention": _attention_macs,
}

# What has no multiply-accumulates: movement of data, elementwise functions, pooling and normalisation.
_FREE = """
    Cast Clone Concat ConstantOfShape Copy DepthToSpace Detach Empty Expand ExpandDims Flatten Gather Identity
    Pad ReorderInput ReorderOutput Reshape Shape Slice SpaceToDepth Split Squeeze Tile Transpose View
    Abs Add Ceil Clip DequantizeLinear Div DynamicQuantizeLinear Elu Erf Exp Floor Gelu HardSigmoid HardSwish
    LeakyRelu Log Max Min Mul Neg PRelu Pow QuantizeLinear Reciprocal Relu Round Sigmoid Silu Softplus Sqrt
    Sub Sum Tanh Where
    AveragePool GroupNormalization InstanceNormalization LayerNormalization LogSoftmax MaxPool ReduceMax
    ReduceMean ReduceSum Resize Softmax SpatialBN
"""
NO_MACS = frozenset(_FREE.split())
# What only names its data anew and moves no byte.
VIEWS = frozenset(
    ["Detach", "Empty", "ExpandDims", "Flatten", "Identity", "Reshape", "Shape", "Squeeze", "View"]
)


def count_macs(op: Operator) -> int | None:
    """Multiply-accumulates; None for an operator nobody has said anything about.

    >>> from mobileone.profiling.operator import Operand
    >>> shapes = (Operand((1, 8, 4, 4)), Operand((16, 8, 1, 1)))
    >>> count_macs(Operator("conv", "Conv", "", shapes, (Operand((1, 16, 4, 4)),)))
    2048
    """
    if op.kind in MACS:
        return MACS[op.kind](op)
    return 0 if op.kind in NO_MACS else None


def total_macs(operators: Iterable[Operator]) -> int:
    """Multiply-accumulates of all operators that have a rule."""
    return sum(count_macs(op) or 0 for op in operators)


def _pointwise(per_element: int) -> Rule:
    return lambda op: per_element * op.outputs[0].numel


def _fc_flop(op: Operator) -> int:
    bias = op.outputs[0].numel if len(op.inputs) > 2 else 0
    return 2 * _fc_macs(op) + bias


CAFFE2: dict[str, Rule] = {
    "Conv": lambda op: 2 * _convolution_macs(op),
    "FusedConv": lambda op: 2 * _convolution_macs(op),
    "FC": _fc_flop,
    "MatMul": lambda op: 2 * _matmul_macs(op),
    "Concat": lambda op: 0,
    "Relu": _pointwise(0),
    "Add": _pointwise(1),
    "Sub": _pointwise(1),
    "Mul": _pointwise(1),
    "Div": _pointwise(1),
    "Sum": lambda op: (len(op.inputs) - 1) * op.outputs[0].numel,
    "LeakyRelu": _pointwise(2),
    "SpatialBN": _pointwise(4),
}

_FVCORE_NORM: Rule = lambda op: 5 * op.inputs[0].numel  # noqa: E731
FVCORE: dict[str, Rule] = {
    **MACS,
    "SpatialBN": _pointwise(2),
    "GroupNormalization": _FVCORE_NORM,
    "InstanceNormalization": _FVCORE_NORM,
    "LayerNormalization": _FVCORE_NORM,
}


def count(op: Operator, convention: Convention) -> int | None:
    """Operations by a convention: FLOP for `caffe2`, multiply-accumulates for the others.

    fvcore adds a few operations of normalisations and of global pooling to its multiply-accumulates.

    Returns:
        A count, or None where the convention has no rule for this operator type.
    """
    if convention == "macs":
        return count_macs(op)
    if convention == "caffe2":
        return CAFFE2[op.kind](op) if op.kind in CAFFE2 else None
    if op.is_global_pool:
        return op.inputs[0].numel
    return FVCORE[op.kind](op) if op.kind in FVCORE else None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes an operator moves, each tensor counted once.

    Attributes:
        read: features, weights and biases.
        written: outputs.
        parameters: of what is read, the model's constants as Caffe2 counts them: a convolution without its
            bias, a BatchNorm without its statistics.
    """

    read: int
    written: int
    parameters: int

    @property
    def total(self) -> int:
        """Read and written."""
        return self.read + self.written


def traffic(op: Operator) -> Traffic:
    """Bytes by Caffe2's rules, which fit every operator: all inputs, all outputs; a mere view moves none."""
    if op.kind in VIEWS:
        return Traffic(0, 0, 0)
    read = sum(tensor.size_bytes for tensor in op.inputs)
    written = sum(tensor.size_bytes for tensor in op.outputs)
    constants = [tensor.size_bytes for tensor in op.inputs if tensor.is_parameter]
    if op.kind == "Concat":
        read += 4  # the axis
    elif op.kind in ("Gather", "Slice"):
        read = written + sum(tensor.size_bytes for tensor in op.inputs[1:])  # only what is picked
    elif op.kind in ("Conv", "FusedConv", "ConvTranspose"):
        constants = constants[:1]
    elif op.kind == "SpatialBN":
        constants = constants[:2]
    return Traffic(read, written, sum(constants))


def has_memory_rule(op: Operator) -> bool:
    """Whether Caffe2 has a cost function for the type, so that its report's memory sections list it."""
    return op.kind in CAFFE2
