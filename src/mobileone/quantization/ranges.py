"""What values a tensor takes, and which part of that range eight bits are best spent on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mobileone.backends.quantized_network import INT8_MIN, STEPS, Int8Encoding

BINS = 1024
Range = Literal["mse", "minmax", "percentile"]
PERCENTILE = 0.9999


@dataclass(frozen=True, slots=True, eq=False)
class ChannelStats:
    """Values of each channel of a tensor that is never negative, over all images and positions.

    Attributes:
        maximum: (C,), the largest value.
        histogram: (C, bins), the share of values in each of `bins` equal parts of 0..maximum; sums to 1.
        mean_square: (C,).
        nonzero: (C,), the share of values above zero; zero itself is always exact.
    """

    maximum: Tensor
    histogram: Tensor
    mean_square: Tensor
    nonzero: Tensor


def channel_stats(x: Tensor, *, bins: int = BINS) -> ChannelStats:
    """Count the values of (N, C, H, W), none below zero, channel by channel."""
    values = x.transpose(0, 1).flatten(1)
    maximum = values.amax(1)
    position = values * (bins / maximum.clamp_min(1e-30))[:, None]
    index = position.long().clamp_(0, bins - 1)
    counts = torch.zeros(len(values), bins).scatter_add_(1, index, torch.ones(()).expand(index.shape))
    size = values.shape[1]
    mean_square = values.square().sum(1, dtype=torch.float64) / size
    nonzero = (values > 0).sum(1) / size
    return ChannelStats(maximum, counts / size, mean_square.float(), nonzero)


def upper_ranges(stats: ChannelStats, rule: Range = "mse") -> Tensor:
    """Where to cut each channel off, (C,), positive: eight bits then cover 0..that.

    Args:
        stats: of the tensor.
        rule: `minmax` covers every value seen. `percentile` leaves one in ten thousand out. `mse` takes the
            cut with the smallest mean squared error: what is cut off, squared, plus step²/12 for every
            value that is not zero.

    A channel that never fires gets a hundredth of the median channel's range, so that an image on which it
    does is not cut to nothing.

    >>> upper_ranges(channel_stats(torch.tensor([0.0, 1.0, 4.0]).view(1, 1, 1, 3)), "minmax").tolist()
    [4.0]
    """
    if rule == "minmax":
        ranges = stats.maximum
    elif rule == "percentile":
        reached = stats.histogram.cumsum(1) < PERCENTILE
        ranges = stats.maximum * (reached.sum(1) + 1) / stats.histogram.shape[1]
    else:
        ranges = stats.maximum * _best_cut(stats)
    floor = 0.01 * ranges.median()
    return ranges.clamp_min(float(floor) if floor > 0 else 1e-6)


def _best_cut(stats: ChannelStats) -> Tensor:
    """The share of each channel's maximum with the smallest squared error."""
    bins = stats.histogram.shape[1]
    centres = (torch.arange(bins) + 0.5) / bins
    cuts = torch.linspace(0.2, 1.0, 81)
    lost = (centres[:, None] - cuts).clamp_min(0).square()  # (bins, cuts)
    rounding = (cuts / STEPS).square() / 12
    error = stats.histogram @ lost + stats.nonzero[:, None] * rounding
    return cuts[error.argmin(1)]


def encoding_of(x: Tensor) -> Int8Encoding:
    """Eight bits over the whole range of a tensor that takes both signs, zero exactly among them.

    >>> encoding_of(torch.tensor([-1.0, 0.9921875]))
    Int8Encoding(scale=(0.0078125,), zero_point=0, dim=0)
    """
    low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
    scale = max((high - low) / STEPS, 1e-12)
    return Int8Encoding((scale,), round(INT8_MIN - low / scale))
