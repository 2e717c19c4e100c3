"""Cross-layer equalisation: the same function with channels that eight bits suit better.

ReLU lets a positive factor through, so dividing a channel by s behind one layer and multiplying what reads it
by s in the next changes nothing in exact arithmetic (Nagel et al., arXiv 1906.04721). Weights have a scale of
their own for every output channel, so what a layer writes costs it nothing; what the next layer reads does:

- a depthwise layer's scale is one a channel too, so its inputs are equalised completely and one scale for the
  tensor is as good as one a channel;
- in a pointwise or linear layer a row's scale is shared by all channels it reads, so a large factor makes
  its other weights coarse, and a small one cuts large values off. There the factors minimise the noise that
  all three cause in the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mobileone.backends.fused_layers import AttentionLayer, ConvLayer, Floats, FusedLayers, LinearLayer
from mobileone.backends.quantized_network import STEPS
from mobileone.quantization.rounding import WeightBits, largest_weight

# Rounding a whole row at once (rounding.py) leaves this share of the error of rounding to nearest.
ROUNDING_SHARE = 0.4
STARTS = (1.0, 0.7, 0.5, 0.35)  # of the whole range
# Noise, as a share of the logits' power, that a photo has anyway: less is hardly worth anything, and one
# photo with far more, whose values lie outside of all others', does not decide alone.
FLOOR = 0.01
ADAM_STEPS, LEARNING_RATE = 100, 0.05


def scaled_output(conv: ConvLayer, factor: Tensor) -> ConvLayer:
    """The layer with every output channel divided by its factor (C,), through attention where it has one."""
    divisor: Floats = factor.numpy()
    attention = conv.attention
    if attention is not None:
        reduce = replace(attention.reduce, weight=attention.reduce.weight * divisor)
        attention = AttentionLayer(reduce=reduce, expand=attention.expand)
    return replace(
        conv,
        weight=conv.weight / divisor[:, None, None, None],
        bias=conv.bias / divisor,
        attention=attention,
    )


def scaled_input(layer: ConvLayer | LinearLayer, factor: Tensor) -> ConvLayer | LinearLayer:
    """The layer reading channels that were divided by those factors (C,)."""
    multiplier: Floats = factor.numpy()
    if isinstance(layer, LinearLayer):
        return replace(layer, weight=layer.weight * multiplier)
    if layer.is_depthwise:
        return replace(layer, weight=layer.weight * multiplier[:, None, None, None])
    return replace(layer, weight=layer.weight * multiplier[None, :, None, None])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Reader:
    """A pointwise or linear layer, what it reads, and how much its outputs matter.

    Attributes:
        weight: (out, C).
        importance: (out,), squared error of the logits, relative to their power, for one of 1 in an output
            at every position.
        ranges: (C,), upper ends of the channels.
        nonzero: (C,), the share of values that are not zero.
        power: (C,), mean squares.
        sample: (C, N·P, A), values at P positions of each of N photos; A values are averaged before the layer
            reads them.
        share: (P,), the share of a photo's positions that each stands for.
        cuts: whether values above a channel's factor may be cut off; else factors cover the ranges.
        bits: of a weight.
    """

    weight: Tensor
    importance: Tensor
    ranges: Tensor
    nonzero: Tensor
    power: Tensor
    sample: Tensor
    share: Tensor
    cuts: bool
    bits: WeightBits = 8


def rounding_noise(factor: Tensor, reader: Reader) -> Tensor:
    """Expected squared error of the logits from eight bits over 0..factor (C,) and from the weights' bits.

    The activations' rounding error, step²/12 wherever a value is not zero, through the weights; and the
    weights' rounding error, step²/12 a weight, times the activations' power.
    """
    scaled = reader.weight * factor
    values = (reader.nonzero * (reader.importance @ scaled.square())).sum() / reader.sample.shape[2]
    steps = scaled.abs().amax(1) / largest_weight(reader.bits)
    weights = (reader.importance @ steps.square()) * (reader.power / factor**2).sum()
    return values / (12 * STEPS**2) + ROUNDING_SHARE / 12 * weights


def cutting_noise(factor: Tensor, reader: Reader) -> Tensor:
    """(N,): squared error of every photo's logits from what lies above factor (C,) and is cut off."""
    lost = (reader.sample - factor[:, None, None]).clamp_min(0).mean(2)
    errors = reader.importance @ (reader.weight @ lost).square()
    return errors.view(-1, len(reader.share)) @ reader.share


def reading_noise(factor: Tensor, reader: Reader) -> Tensor:
    """What `balance` minimises: the logarithm of the noise and `FLOOR`, the mean over the photos."""
    noise = rounding_noise(factor, reader)
    if reader.cuts:
        noise = noise + cutting_noise(factor, reader)
    return (FLOOR + noise).log().mean()


def balance(reader: Reader) -> Tensor:
    """Factors (C,) that make `reading_noise` small: the best power of the ranges, then gradient descent."""
    ranges = reader.ranges
    lowest = torch.zeros_like(ranges) if reader.cuts else ranges
    powers: list[Tensor] = [ranges**power for power in torch.linspace(0, 1, 11)]
    whole = [power * (ranges / power).amax() for power in powers]  # the channel that reaches highest fits
    starts = [(part * each).maximum(lowest) for each in whole for part in STARTS]
    best = min(starts, key=lambda factor: float(reading_noise(factor, reader)))
    least = float(reading_noise(best, reader))
    exponent = best.log().requires_grad_()
    optimizer = torch.optim.Adam([exponent], lr=LEARNING_RATE)
    for _ in range(ADAM_STEPS):
        with torch.enable_grad():
            noise = reading_noise(exponent.exp().maximum(lowest), reader)
        if noise.item() < least:
            best, least = exponent.detach().exp().maximum(lowest), noise.item()
        optimizer.zero_grad()
        noise.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        exponent.data.clamp_(min=lowest.log())
    return best


def equalize(layers: FusedLayers, factors: Sequence[Tensor]) -> FusedLayers:
    """The same network, every output divided by its factors (C,) and multiplied by them where it is read.

    The last output is left as it is where no classifier reads it.
    """
    chain: list[ConvLayer | LinearLayer] = [*layers.convs]
    if layers.classifier is not None:
        chain.append(layers.classifier)
    for index, factor in enumerate(factors[: len(chain) - 1]):
        writer, reader = chain[index], chain[index + 1]
        assert isinstance(writer, ConvLayer)
        chain[index], chain[index + 1] = scaled_output(writer, factor), scaled_input(reader, factor)
    return replace(
        layers,
        convs=tuple(part for part in chain if isinstance(part, ConvLayer)),
        classifier=chain[-1] if isinstance(chain[-1], LinearLayer) else None,
    )
