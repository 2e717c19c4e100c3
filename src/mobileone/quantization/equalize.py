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
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mobileone.exporting.layers import Conv, Floats, Layers, Linear, SqueezeExcite
from mobileone.exporting.quantized import STEPS
from mobileone.quantization.ranges import ChannelStats

WEIGHT_STEPS = 127
# Rounding a whole row at once (rounding.py) leaves this share of the error of rounding to nearest.
ROUNDING_SHARE = 0.4
import os
FLOOR = float(os.environ.get("FLOOR","0.01"))
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
        ceiling=None if conv.ceiling is None else conv.ceiling / divisor,
    )


def scaled_input(layer: Conv | Linear, factor: Tensor) -> Conv | Linear:
    """The layer reading channels that were divided by those factors (C,)."""
    multiplier: Floats = factor.numpy()
    if isinstance(layer, Linear):
        return replace(layer, weight=layer.weight * multiplier)
    if layer.is_depthwise:
        return replace(layer, weight=layer.weight * multiplier[:, None, None, None])
    return replace(layer, weight=layer.weight * multiplier[None, :, None, None])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Reader:
    """A pointwise or linear layer, what it reads, and how much each of its outputs matters.

    Attributes:
        weight: (out, C).
        importance: (out,), squared effect of one unit of error in an output on the logits.
        stats: of the channels.
        ranges: (C,), where each channel may be cut at the earliest; None leaves that to `balance`.
        sample: (C, P, A), values at some positions; A of them are averaged before the layer reads them.
        share: (P,), of all positions, that each stands for.
    """

    weight: Tensor
    importance: Tensor
    stats: ChannelStats
    ranges: Tensor
    cut: bool
    sample: Tensor
    share: Tensor
    power: Tensor
    fixed: Tensor


def reading_noise(factor: Tensor, reader: Reader) -> Tensor:
    """Expected squared error of the logits, from eight bits over 0..factor and eight-bit weights.

    Args:
        factor: (C,), the largest value that each channel can take, and what it is divided by.
        reader: the layer.

    Returns:
        The sum of three: what is cut off, through the weights, at the sampled positions; the activations'
        rounding, step²/12 wherever a value is not zero; and the weights' rounding, step²/12 a weight, times
        the activations' power.
    """
    scaled = reader.weight * factor
    weighted = reader.importance @ scaled.square()  # (C,)
    averaged = reader.sample.shape[2]
    rounding = (reader.stats.nonzero * weighted).sum() / (12 * STEPS**2 * averaged)
    steps = scaled.abs().amax(1) / WEIGHT_STEPS
    power = (reader.power / factor**2).sum()
    weights = ROUNDING_SHARE / 12 * (reader.importance * steps.square()).sum() * power
    even = rounding + weights
    if not reader.cut:
        return (FLOOR + even).log()
    lost = (reader.sample - factor[:, None, None]).clamp_min(0).mean(2)
    errors = reader.importance @ (reader.weight @ lost).square()
    photos = errors.view(-1, len(reader.share)) @ reader.share
    return (FLOOR + even + photos).log().mean()


def balance(reader: Reader) -> Tensor:
    """Factors (C,) that make `reading_noise` small: the best power of the ranges, then gradient descent."""
    ranges, fixed = reader.ranges, reader.fixed
    lowest = torch.full_like(ranges, 0.0) if reader.cut else ranges
    lowest = torch.where(fixed, ranges, lowest)
    highest = torch.where(fixed, ranges, torch.inf)
    starts = [(c * ranges**p * (ranges ** (1 - p)).amax()).clamp(lowest, highest) for p in torch.linspace(0, 1, 11).tolist() for c in (1.0, 0.7, 0.5, 0.35)]
    with torch.no_grad():
        best = min(starts, key=lambda f: float(reading_noise(f, reader)))
    exponent, least = best.log().requires_grad_(), torch.inf
    optimizer = torch.optim.Adam([exponent], lr=LEARNING_RATE)
    for _ in range(ADAM_STEPS):
      with torch.enable_grad():
        noise = reading_noise(exponent.exp(), reader)
        if noise.item() < least:
            best, least = exponent.detach().exp(), noise.item()
        optimizer.zero_grad()
        noise.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
      with torch.no_grad():
            exponent.clamp_(lowest.log(), highest.log())
    return best


def equalize(layers: Layers, factors: Sequence[Tensor]) -> Layers:
    chain: list[Conv | Linear] = [*layers.convs]
    if layers.classifier is not None:
        chain.append(layers.classifier)
    for index, factor in enumerate(factors):
        if index + 1 == len(chain): break
        writer, reader = chain[index], chain[index + 1]
        assert isinstance(writer, Conv)
        chain[index], chain[index + 1] = scaled_output(writer, factor), scaled_input(reader, factor)
    return replace(
        layers,
        convs=tuple(part for part in chain if isinstance(part, Conv)),
        classifier=chain[-1] if isinstance(chain[-1], Linear) else None,
    )


def _depthwise(part: Conv | Linear) -> bool:
    return isinstance(part, Conv) and part.is_depthwise
