"""What a network costs, from its shapes alone, without building it. Imports no torch.

MACs are those of convolutions and the linear layer. FLOP and bytes follow Caffe2's cost functions, which
gave the figures that the paper and its ports quote: a convolution 2 a MAC with its bias not counted, the
linear layer 2K + 1 an output, BatchNorm 4 an element, additions and SE's multiplication 1; pooling and the
sigmoid have no cost function there and count nothing. docs/cost.md has the whole table.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import prod

from mobileone.errors import ConfigError
from mobileone.input_spec import Size, sides
from mobileone.variants import SE_REDUCTION, BlockSpec, Form, Pair, Variant, network_units

FLOAT_BYTES = 4
# The reference's head is pool, then view(x.size(0), -1), whose shape is a Concat of two integers.
VIEW_BYTES_READ, VIEW_BYTES_WRITTEN = 12, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Totals of one network, or of one part of it; all but parameters are for the whole batch.

    Attributes:
        params: learnt parameters, a count.
        macs: multiply-accumulates of convolutions and the linear layer.
        flops: floating-point operations by Caffe2's rules.
        activations: elements that convolutions and the linear layer put out (fvcore's and timm's count).
        bytes_read: feature memory read by Caffe2's rules in float32, weights included.
        bytes_written: feature memory written, likewise.
        parameter_bytes: parameter memory, likewise: no biases of convolutions, no statistics of BatchNorm.
    """

    params: int = 0
    macs: int = 0
    flops: int = 0
    activations: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    parameter_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def __mul__(self, times: int) -> Cost:
        return Cost(**{f.name: getattr(self, f.name) * times for f in fields(self)})

    def to_dict(self) -> dict[str, int]:
        """Plain values, for JSON."""
        return asdict(self)


def output_shape(spec: BlockSpec, shape: Pair) -> Pair:
    """(H, W) of a unit's output for an input of (H, W)."""
    height, width = (
        (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        for size, pad, dilation, kernel, stride in zip(
            shape, spec.paddings, spec.dilations, spec.kernel, spec.strides, strict=True
        )
    )
    return height, width


def _convolution(read: int, weights: int, macs: int, written: int, *, bias: int = 0) -> Cost:
    """A convolution: features read, weights, MACs and features written in elements; `bias` its length."""
    return Cost(
        params=weights + bias,
        macs=macs,
        flops=2 * macs,
        activations=written,
        bytes_read=FLOAT_BYTES * (read + weights + bias),
        bytes_written=FLOAT_BYTES * written,
        parameter_bytes=FLOAT_BYTES * weights,
    )


def _pointwise(elements: int, *, operands: int, flops_each: int) -> Cost:
    return Cost(
        flops=flops_each * elements,
        bytes_read=FLOAT_BYTES * operands * elements,
        bytes_written=FLOAT_BYTES * elements,
    )


def _batch_norm(elements: int, channels: int) -> Cost:
    affine = Cost(
        params=2 * channels,
        bytes_read=FLOAT_BYTES * 4 * channels,
        parameter_bytes=FLOAT_BYTES * 2 * channels,
    )
    return _pointwise(elements, operands=1, flops_each=4) + affine


def _squeeze_excite(channels: int, elements: int, batch_size: int) -> Cost:
    squeezed = channels // SE_REDUCTION
    weights, wide, narrow = channels * squeezed, batch_size * channels, batch_size * squeezed
    gating = Cost(
        flops=elements,
        bytes_read=FLOAT_BYTES * (elements + wide),
        bytes_written=FLOAT_BYTES * elements,
    )
    return (
        _convolution(wide, weights, batch_size * weights, narrow, bias=squeezed)
        + _pointwise(narrow, operands=1, flops_each=0)
        + _convolution(narrow, weights, batch_size * weights, wide, bias=channels)
        + gating
    )


def unit_cost(spec: BlockSpec, shape: Pair, *, form: Form, batch_size: int = 1) -> Cost:
    """Cost of one unit for an input of (H, W) `shape`."""
    pixels = batch_size * prod(output_shape(spec, shape))
    read = batch_size * prod(shape) * spec.in_channels
    written = pixels * spec.out_channels
    pointwise = spec.out_channels * spec.in_channels // spec.groups
    full = pointwise * prod(spec.kernel)
    if form == "inference":
        total = _convolution(read, full, pixels * full, written, bias=spec.out_channels)
    else:
        norm = _batch_norm(written, spec.out_channels)
        total = (_convolution(read, full, pixels * full, written) + norm) * spec.num_conv_branches
        if spec.use_scale:
            # It reads only the pixels under its stride.
            total += _convolution(pixels * spec.in_channels, pointwise, pixels * pointwise, written) + norm
        if spec.use_identity:
            total += norm
        total += _pointwise(written, operands=2, flops_each=1) * (spec.num_branches - 1)
    if spec.use_se:
        total += _squeeze_excite(spec.out_channels, written, batch_size)
    return total + _pointwise(written, operands=1, flops_each=0)  # ReLU


def head_cost(num_features: int, num_classes: int, *, batch_size: int = 1) -> Cost:
    """Cost of the pooled linear head; 0 classes for none."""
    if not num_classes:
        return Cost()
    weights, outputs = num_features * num_classes, batch_size * num_classes
    macs = batch_size * weights
    return Cost(
        params=weights + num_classes,
        macs=macs,
        flops=2 * macs + outputs,
        activations=outputs,
        bytes_read=FLOAT_BYTES * (batch_size * num_features + weights + num_classes) + VIEW_BYTES_READ,
        bytes_written=FLOAT_BYTES * outputs + VIEW_BYTES_WRITTEN,
        parameter_bytes=FLOAT_BYTES * (weights + num_classes),
    )


def network_cost(
    variant: Variant,
    *,
    input_size: Size = 224,
    form: Form = "inference",
    batch_size: int = 1,
    num_classes: int = 1000,
    in_chans: int = 3,
    output_stride: int = 32,
) -> Cost:
    """Cost of a whole classifier.

    Args:
        variant: the network.
        input_size: side of a square input, or (height, width), pixels.
        form: `"inference"` or `"train"`.
        batch_size: images.
        num_classes: outputs of the linear layer; 0 for none.
        in_chans: channels of the image.
        output_stride: 32, 16 or 8.

    Raises:
        ConfigError: on a size, batch or form that makes no sense.

    >>> from mobileone import VARIANTS
    >>> cost = network_cost(VARIANTS["mobileone_s0"])
    >>> cost.params, cost.macs, cost.flops
    (2078504, 275110400, 550221800)
    """
    if min(*sides(input_size), batch_size) < 1:
        raise ConfigError(f"input_size and batch_size must be at least 1, got {input_size} and {batch_size}")
    if num_classes < 0:
        raise ConfigError(f"num_classes must be 0 or more, got {num_classes}")
    if form not in ("train", "inference"):
        raise ConfigError(f"form must be train or inference, got {form!r}")
    total, shape = Cost(), sides(input_size)
    for unit in network_units(variant, in_chans=in_chans, output_stride=output_stride):
        total += unit_cost(unit.block, shape, form=form, batch_size=batch_size)
        shape = output_shape(unit.block, shape)
    return total + head_cost(variant.num_features, num_classes, batch_size=batch_size)
