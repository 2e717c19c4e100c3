"""The least time that a machine's ceilings allow a network: every layer's bound, summed. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mobileone.input_spec import Size, sides
from mobileone.profiling.cost import output_shape
from mobileone.profiling.operator import Operand, Operator
from mobileone.profiling.roofline import Machine, bound_of
from mobileone.variants import SE_REDUCTION, BlockSpec, Pair, Variant, network_units

# How a precision keeps its numbers.
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "int8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShapes:
    """What the floor depends on.

    Attributes:
        variant: widths and depths.
        input_size: side of a square input, or (height, width), pixels.
        num_classes: length of the logits.
        in_chans: channels of the image.
        output_stride: 32, 16 or 8.
    """

    variant: Variant
    input_size: Size
    num_classes: int
    in_chans: int = 3
    output_stride: int = 32

    def operators(self, *, batch_size: int, precision: str) -> list[Operator]:
        """The fused network as a runtime at its best executes it: activations ride with their convolution."""
        make = _Shapes(batch_size, DTYPES[precision])
        shape, found = sides(self.input_size), []
        for unit in network_units(self.variant, in_chans=self.in_chans, output_stride=self.output_stride):
            found += make.unit(unit.name, unit.block, shape)
            shape = output_shape(unit.block, shape)
        features = self.variant.num_features
        found.append(make.pool("head.pool", features, shape))
        if self.num_classes:
            found.append(make.fc("head.fc", features, self.num_classes))
        return found

    def floor(self, machine: Machine, *, batch_size: int, precision: str) -> Floor:
        """The least time that the ceilings allow, layer by layer, for one batch."""
        bounds = [bound_of(op, machine) for op in self.operators(batch_size=batch_size, precision=precision)]
        return Floor(
            milliseconds=sum(bound.time_ms for bound in bounds),
            arithmetic_ms=sum(bound.arithmetic_ms for bound in bounds),
            memory_ms=sum(bound.memory_ms for bound in bounds),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Bounds of a whole network, milliseconds a batch.

    Attributes:
        milliseconds: the larger of both bounds, layer by layer, summed.
        arithmetic_ms: all multiply-accumulates at the peak, nothing else.
        memory_ms: all bytes at the speed of copies as large, nothing else.
    """

    milliseconds: float
    arithmetic_ms: float
    memory_ms: float


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Makes operators of one batch size and number format."""

    batch_size: int
    dtype: str

    def _features(self, channels: int, shape: Pair = (1, 1)) -> Operand:
        return Operand((self.batch_size, channels, *shape), self.dtype)

    def _constants(self, *shape: int) -> Operand:
        return Operand(shape, self.dtype, is_parameter=True)

    def unit(self, name: str, spec: BlockSpec, shape: Pair) -> list[Operator]:
        """One convolution, with its squeeze-and-excitation where it has one."""
        out = output_shape(spec, shape)
        weight = self._constants(spec.out_channels, spec.in_channels // spec.groups, *spec.kernel)
        found = [
            self._convolution(
                name, self._features(spec.in_channels, shape), weight, self._features(spec.out_channels, out)
            )
        ]
        if spec.use_se:
            wide, narrow = spec.out_channels, spec.out_channels // SE_REDUCTION
            found += [
                self.pool(f"{name}.attn.pool", wide, out),
                self._convolution(
                    f"{name}.attn.fc1",
                    self._features(wide),
                    self._constants(narrow, wide, 1, 1),
                    self._features(narrow),
                ),
                self._convolution(
                    f"{name}.attn.fc2",
                    self._features(narrow),
                    self._constants(wide, narrow, 1, 1),
                    self._features(wide),
                ),
                Operator(
                    f"{name}.attn.mul",
                    "Mul",
                    name,
                    (self._features(wide, out), self._features(wide)),
                    (self._features(wide, out),),
                ),
            ]
        return found

    def _convolution(self, name: str, x: Operand, weight: Operand, out: Operand) -> Operator:
        return Operator(name, "Conv", name, (x, weight, self._constants(weight.shape[0])), (out,))

    def pool(self, name: str, channels: int, shape: Pair) -> Operator:
        """The average over a map of (H, W) `shape`."""
        return Operator(
            name, "AveragePool", name, (self._features(channels, shape),), (self._features(channels),)
        )

    def fc(self, name: str, features: int, classes: int) -> Operator:
        """The linear head."""
        x, out = (Operand((self.batch_size, n), self.dtype) for n in (features, classes))
        return Operator(
            name, "FC", name, (x, self._constants(classes, features), self._constants(classes)), (out,)
        )
