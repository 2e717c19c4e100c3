"""Cross-layer equalisation: the same function with channels that eight bits suit better.

ReLU lets a positive factor through, so dividing a channel by s behind one layer and multiplying what reads it
by s in the next changes nothing in exact arithmetic (Nagel et al., arXiv 1906.04721). Weights have a scale of
their own for every output channel, so what a layer writes costs it nothing; what the next layer reads does:

- a depthwise layer's scale is one a channel too, so its inputs are equalised completely and one scale for the
  tensor is as good as one a channel;
- in a pointwise or linear layer a row's scale is shared by all channels it reads, so a large factor makes
  its other weights coarse. There the factors minimise the noise that both roundings together cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mobileone.exporting.layers import Conv, Floats, Layers, Linear, SqueezeExcite
from mobileone.exporting.quantized import STEPS
from mobileone.quantization.ranges import ChannelStats

WEIGHT_STEPS = 127
# Rounding a whole row at once (rounding.py) leaves this share of the error of rounding to nearest.
ROUNDING_SHARE = 0.4
ADAM_STEPS, LEARNING_RATE = 100, 0.05


def scaled_output(conv: Conv, factor: Tensor) -> Conv:
    """The layer with every output channel divided by its factor (C,), through attention where it has one."""
    divisor: Floats = factor.numpy()
    attention = conv.attention
    if attention is not None:
        reduce = replace(attention.reduce, weight=attention.reduce.weight * divisor)
        attention = SqueezeExcite(reduce=reduce, expand=attention.expand)
    return replace(
        conv,
        weight=conv.weight / divisor[:, None, None, None],
        bias=conv.bias / divisor,
        attention=attention,
    )


def scaled_input(layer: Conv | Linear, factor: Tensor) -> Conv | Linear:
    """The layer reading channels that were divided by those factors (C,)."""
    multiplier: Floats = factor.numpy()
    if isinstance(layer, Linear):
        return replace(layer, weight=layer.weight * multiplier)
    if layer.is_depthwise:
        return replace(layer, weight=layer.weight * multiplier[:, None, None, None])
    return replace(layer, weight=layer.weight * multiplier[None, :, None, None])


def reading_noise(factor: Tensor, weight: Tensor, ranges: Tensor, stats: ChannelStats) -> Tensor:
    """Expected squared error, summed over outputs, of a layer that reads eight bits with eight-bit weights.

    Args:
        factor: (C,), what the channels are divided by.
        weight: (out, C).
        ranges: (C,), upper ends before dividing.
        stats: of the channels before dividing.

    Returns:
        The activations' rounding error, step²/12 wherever a value is not zero, through the weights; and the
        weights' rounding error, step²/12 a weight, times the activations' power.
    """
    scaled = weight * factor
    step = (ranges / factor).amax() / STEPS
    activations = step**2 / 12 * (stats.nonzero * scaled.square().sum(0)).sum()
    weight_steps = scaled.abs().amax(1) / WEIGHT_STEPS
    power = (stats.mean_square / factor**2).sum()
    weights = ROUNDING_SHARE / 12 * weight_steps.square().sum() * power
    return torch.add(activations, weights)


def balance(weight: Tensor, ranges: Tensor, stats: ChannelStats) -> Tensor:
    """Factors (C,) that make `reading_noise` small: the best power of the ranges, then gradient descent."""
    powers: list[Tensor] = [ranges**power for power in torch.linspace(0, 1, 11)]
    best = min(powers, key=lambda factor: float(reading_noise(factor, weight, ranges, stats)))
    least = float(reading_noise(best, weight, ranges, stats))
    exponent = best.log().requires_grad_()
    optimizer = torch.optim.Adam([exponent], lr=LEARNING_RATE)
    for _ in range(ADAM_STEPS):
        noise = reading_noise(exponent.exp(), weight, ranges, stats)
        if noise.item() < least:
            best, least = exponent.detach().exp(), noise.item()
        optimizer.zero_grad()
        noise.log().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return best


def equalize(layers: Layers, stats: Sequence[ChannelStats], ranges: Sequence[Tensor]) -> Layers:
    """The same network, equalised between each layer and the next.

    Args:
        layers: the network.
        stats: of every convolution's output, after the ReLU.
        ranges: upper ends (C,) of the same.
    """
    chain: list[Conv | Linear] = [*layers.convs]
    if layers.classifier is not None:
        chain.append(layers.classifier)
    # Depthwise readers first, then from the end: the noise of an output counts in the scale that it ends in.
    joints = sorted(range(len(chain) - 1), key=lambda i: (not _depthwise(chain[i + 1]), -i))
    for index in joints:
        writer, reader = chain[index], chain[index + 1]
        assert isinstance(writer, Conv)
        factor = ranges[index]
        if not _depthwise(reader):
            factor = balance(torch.from_numpy(reader.weight).flatten(1), factor, stats[index])
        factor = factor * (ranges[index] / factor).amax()  # the channel that reaches highest reaches 1
        chain[index], chain[index + 1] = scaled_output(writer, factor), scaled_input(reader, factor)
    return replace(
        layers,
        convs=tuple(part for part in chain if isinstance(part, Conv)),
        classifier=chain[-1] if isinstance(chain[-1], Linear) else None,
    )


def _depthwise(part: Conv | Linear) -> bool:
    return isinstance(part, Conv) and part.is_depthwise
