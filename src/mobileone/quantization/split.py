"""Channels written twice, so that eight bits resolve what is common and still reach what is rare.

relu(x) = min(relu(x), T) + relu(x − T). Eight bits saturate at the top of their range by themselves, so a channel
whose range ends at T and a second one with its bias lowered by T are together the channel, whatever T is: the
first in fine steps, the second in steps as coarse as its reach asks for, which matter only where it is not zero.
The next layer reads the second through the same weights. (Zhao et al., arXiv 1901.09504, split channels into
halves; here the halves are a range each.) A network with split channels is a network with more channels: no
runtime knows of it. A depthwise layer sums no channels, so it cannot put one together again, and its own output
is split by writing its input twice too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileone.exporting.layers import Conv, Floats, Layers, Linear
from mobileone.exporting.quantized import STEPS
from mobileone.quantization.ranges import ChannelStats

GROUP = 8  # channels are added in so many, as kernels compute them


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Split:
    """Which of a convolution's channels are written twice.

    Attributes:
        index: of the convolution in the network.
        channels: (K,).
        thresholds: (K,), where the first of the two ends and the second begins.
    """

    index: int
    channels: NDArray[np.int64]
    thresholds: Floats


def best_thresholds(stats: ChannelStats, ranges: Tensor) -> tuple[Tensor, Tensor]:
    """Where to split each channel, (C,), and what is left of its squared rounding error, a share (C,).

    Values below T are rounded in steps of T / 255, those above in steps of (range − T) / 255.
    """
    bins = stats.histogram.shape[1]
    cuts = torch.arange(1, bins) / bins
    above = stats.histogram.flip(1).cumsum(1).flip(1)[:, 1:]  # (C, bins − 1), share of values above each cut
    reach = (ranges / stats.maximum.clamp_min(1e-30))[:, None]
    error = stats.nonzero[:, None] * cuts.square() + above * (reach - cuts).clamp_min(0).square()
    error = torch.where(cuts < reach, error, torch.inf)
    least, best = error.min(1)
    whole = stats.nonzero * reach[:, 0].square()
    return cuts[best] * stats.maximum, (least / whole.clamp_min(1e-30)).clamp(max=1)


def plan_splits(
    layers: Layers,
    stats: Sequence[ChannelStats],
    ranges: Sequence[Tensor],
    effects: Sequence[Tensor],
    *,
    budget: float,
) -> Sequence[Split]:
    """The splits that take most of the logits' noise away for the multiply-accumulates that they add.

    Args:
        layers: the network.
        stats: of every convolution's output behind the ReLU.
        ranges: (C,), upper ends of the same.
        effects: (C,), the squared error of the logits for a squared error of 1 in the channel, everywhere.
        budget: multiply-accumulates that may be added, as a share of the network's.
    """
    shape = (layers.input_spec.size,) * 2
    allowed = budget * layers.macs(layers.input_spec.size)
    candidates = []
    for index, conv in enumerate(layers.convs):
        before, shape = shape, conv.output_size(shape)
        if not splittable(layers, index):
            continue
        thresholds, left = best_thresholds(stats[index], ranges[index])
        noise = effects[index] * stats[index].nonzero * ranges[index].square() / (12 * STEPS**2)
        gain = noise * (1 - left)
        cost = GROUP * extra_macs(layers, index, before, shape)
        for chosen in gain.argsort(descending=True)[: len(gain) // GROUP * GROUP].view(-1, GROUP):
            candidates.append((gain[chosen].sum().item() / cost, cost, index, chosen, thresholds[chosen]))
    taken: dict[int, list[tuple[Tensor, Tensor]]] = {}
    for gain_of_one, cost, index, chosen, thresholds in sorted(candidates, key=lambda one: -one[0]):
        if cost <= allowed and gain_of_one > 0:
            allowed -= cost
            taken.setdefault(index, []).append((chosen, thresholds))
    return [
        Split(
            index=index,
            channels=torch.cat([chosen for chosen, _ in groups]).numpy(),
            thresholds=torch.cat([thresholds for _, thresholds in groups]).numpy(),
        )
        for index, groups in sorted(taken.items())
    ]


def splittable(layers: Layers, index: int) -> bool:
    """Whether the next layer sums this convolution's channels, and no attention stands in the way."""
    chain = [*layers.convs, layers.classifier]
    conv, reader = layers.convs[index], chain[index + 1]
    writers = layers.convs[index - 1 : index + 1] if conv.is_depthwise else (conv,)
    if reader is None or isinstance(reader, Conv) and reader.groups > 1:
        return False
    return len(writers) > 0 and all(writer.attention is None for writer in writers)


def extra_macs(layers: Layers, index: int, before: tuple[int, int], after: tuple[int, int]) -> int:
    """Multiply-accumulates that one more channel of a convolution costs, with what writes and reads it."""
    conv = layers.convs[index]
    total = conv.weight[0].size * prod(after)
    if conv.is_depthwise:
        total += layers.convs[index - 1].weight[0].size * prod(before)
    if index + 1 == len(layers.convs):
        return total if layers.classifier is None else total + len(layers.classifier.bias)
    reader = layers.convs[index + 1]
    return total + reader.out_channels * prod(reader.weight.shape[2:]) * prod(reader.output_size(after))


def split_channels(layers: Layers, split: Split) -> Layers:
    """The same function with some of a convolution's channels written twice."""
    parts: list[Conv | Linear] = [*layers.convs]
    if layers.classifier is not None:
        parts.append(layers.classifier)
    index, channels = split.index, split.channels
    conv, reader = parts[index], parts[index + 1]
    assert isinstance(conv, Conv)
    top = np.full(conv.out_channels, np.inf, np.float32) if conv.ceiling is None else conv.ceiling
    twice = _rows_twice(conv, channels)
    twice.bias[-len(channels) :] -= split.thresholds
    first = top.copy()
    first[channels] = split.thresholds
    parts[index] = replace(twice, ceiling=np.concatenate([first, top[channels] - split.thresholds]))
    parts[index + 1] = replace(reader, weight=np.concatenate([reader.weight, reader.weight[:, channels]], axis=1))
    if conv.is_depthwise:
        source = parts[index - 1]
        assert isinstance(source, Conv)
        parts[index - 1] = _rows_twice(source, channels)
    return replace(
        layers,
        convs=tuple(part for part in parts if isinstance(part, Conv)),
        classifier=parts[-1] if isinstance(parts[-1], Linear) else None,
    )


def _rows_twice(conv: Conv, channels: NDArray[np.int64]) -> Conv:
    """The convolution with those output channels once more at the end."""
    top = conv.ceiling
    return replace(
        conv,
        weight=np.concatenate([conv.weight, conv.weight[channels]]),
        bias=np.concatenate([conv.bias, conv.bias[channels]]),
        groups=conv.groups + len(channels) if conv.is_depthwise else conv.groups,
        ceiling=None if top is None else np.concatenate([top, top[channels]]),
    )
