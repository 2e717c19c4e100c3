"""What a network costs, from its shapes alone: parameters, multiply-accumulates, FLOP. Imports no torch.

MACs are those of convolutions and the linear layer. FLOP follow Caffe2's cost functions, which gave the
figures that the paper and its ports quote: a convolution 2 a MAC with its bias not counted, the linear
layer 2K + 1 an output, SE's multiplication 1 an element. BatchNorm, additions, ReLU and pooling count 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod

from mobileone.errors import ConfigError
from mobileone.variants import SE_REDUCTION, BlockSpec, Form, Pair, Variant, network_units


@dataclass(frozen=True, slots=True)
class Cost:
    """Totals of one network, or of one unit of it.

    Attributes:
        params: learnt parameters, a count.
        macs: multiply-accumulates for the whole batch.
        flops: floating-point operations by Caffe2's rules for the whole batch.
    """

    params: int
    macs: int
    flops: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs, self.flops + other.flops)

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


def unit_cost(spec: BlockSpec, shape: Pair, *, form: Form, batch_size: int = 1) -> Cost:
    """Cost of one unit for an input of (H, W) `shape`."""
    pixels = batch_size * prod(output_shape(spec, shape))
    pointwise = spec.out_channels * spec.in_channels // spec.groups
    full = pointwise * prod(spec.kernel)
    if form == "train":
        weights = spec.num_conv_branches * full + bool(spec.use_scale) * pointwise
        params = weights + 2 * spec.out_channels * spec.num_branches
    else:
        weights, params = full, full + spec.out_channels
    macs, products = pixels * weights, 0
    if spec.use_se:
        squeezed = spec.out_channels // SE_REDUCTION
        params += 2 * spec.out_channels * squeezed + squeezed + spec.out_channels
        macs += batch_size * 2 * spec.out_channels * squeezed
        products = pixels * spec.out_channels
    return Cost(params, macs, 2 * macs + products)


def network_cost(
    variant: Variant,
    *,
    input_size: int = 224,
    form: Form = "inference",
    batch_size: int = 1,
    num_classes: int = 1000,
    in_chans: int = 3,
) -> Cost:
    """Cost of a whole classifier.

    Args:
        variant: the network.
        input_size: side of the square input, pixels.
        form: `"inference"` or `"train"`.
        batch_size: images.
        num_classes: outputs of the linear layer; 0 for none.
        in_chans: channels of the image.

    Raises:
        ConfigError: on a size, batch or form that makes no sense.

    >>> from mobileone.variants import VARIANTS
    >>> network_cost(VARIANTS["mobileone_s0"])
    Cost(params=2078504, macs=275110400, flops=550221800)
    """
    if min(input_size, batch_size) < 1:
        raise ConfigError(f"input_size and batch_size must be at least 1, got {input_size} and {batch_size}")
    if form not in ("train", "inference"):
        raise ConfigError(f"form must be train or inference, got {form!r}")
    total, shape = Cost(0, 0, 0), (input_size, input_size)
    for unit in network_units(variant, in_chans=in_chans):
        total += unit_cost(unit.block, shape, form=form, batch_size=batch_size)
        shape = output_shape(unit.block, shape)
    if num_classes:
        features = variant.num_features
        macs = batch_size * features * num_classes
        total += Cost((features + 1) * num_classes, macs, 2 * macs + batch_size * num_classes)
    return total
