"""Moments of depthwise patches as torch operators: over depthwise_moments.c on a CPU, by Triton on CUDA.

torch.compile sees the operators as they are, opaque.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from mobileone.functional.kernels import native
from mobileone.functional.kernels.depthwise_convolution import add_moments_gradient_
from mobileone.functional.kernels.depthwise_geometry import DepthwiseShape, num_groups
from mobileone.functional.memory_layout import channels_last
from mobileone.functional.window import Window


def moments_sums(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """A shift (C,) near the mean of x, and sums (groups, T + T (T + 1) / 2, C) over the patches of x − shift.

    The sums, in float64, are of every tap and of the products of every two, an upper triangle row by row.
    x is channels_last.
    """
    # Centred on the first image's mean: sums of squares must not cancel where a mean is large.
    shift = x[0].mean((1, 2)).contiguous()
    groups, taps = num_groups(x), window.num_taps
    sums = torch.zeros(groups, taps + taps * (taps + 1) // 2, x.shape[1], dtype=torch.float64)
    args = (x, shift, sums, groups, DepthwiseShape.of(x, window))
    native.call("depthwise_moments", "depthwise_moments", x.dtype, *args)
    return shift, sums


@torch.library.custom_op("mobileone::depthwise_moments", mutates_args=(), device_types="cpu")
def depthwise_moments(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """A shift (C,) near the mean of x, and mean (C, T) and cov (C, T, T) of its patches.

    Moments are in float64 on a CPU, in float32 on CUDA. `window` is `Window.flat()`.
    """
    x, geometry = channels_last(x), Window.of_flat(window)
    taps = geometry.num_taps
    shift, sums = moments_sums(x, geometry)
    total = sums.sum(0).div_(geometry.count(x.shape))
    first = total[:taps].T.contiguous()
    second = total[taps:].index_select(0, _pair_index(taps)).T.contiguous()
    second = second.view(-1, taps, taps)
    second.sub_(first.unsqueeze(2) * first.unsqueeze(1))
    return shift, first + shift.double().unsqueeze(1), second


@depthwise_moments.register_fake
def _(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    channels, taps = x.shape[1], window[0] * window[1]
    if x.device.type == "cpu":
        mean, shift = x.new_empty(channels, taps, dtype=torch.float64), x.new_empty(channels)
    else:
        mean, shift = (x.new_empty(size, dtype=torch.float32) for size in ((channels, taps), (channels,)))
    return shift, mean, mean.new_empty(channels, taps, taps)


@depthwise_moments.register_kernel("cuda")
def _(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    from mobileone.functional.kernels import depthwise_moments_triton

    return depthwise_moments_triton.depthwise_moments(x, Window.of_flat(window))


@functools.cache
def _pair_index(taps: int) -> Tensor:
    """Where element (t, u) of a symmetric matrix lies in its upper triangle, (taps²,)."""
    index = torch.zeros(taps, taps, dtype=torch.int64)
    rows, columns = torch.triu_indices(taps, taps)
    index[rows, columns] = index[columns, rows] = torch.arange(len(rows))
    return index.flatten()


@torch.library.custom_op(
    "mobileone::depthwise_moments_backward_", mutates_args=("grad_x",), device_types="cpu"
)
def depthwise_moments_backward_(
    grad_x: Tensor, x: Tensor, shift: Tensor, slopes: Tensor, offsets: Tensor, window: Sequence[int]
) -> None:
    """`add_moments_gradient_` with channels first in the small tensors.

    Args:
        grad_x: (N, C, H, W), channels_last.
        x: the same shape.
        shift: (C,).
        slopes: (C, T, T).
        offsets: (C, T).
        window: of the convolution, flat.
    """
    slopes, offsets = (value.flatten(1).T.to(x.dtype).contiguous() for value in (slopes, offsets))
    add_moments_gradient_(grad_x, channels_last(x), shift, slopes, offsets, Window.of_flat(window))


@depthwise_moments_backward_.register_kernel("cuda")
def _(
    grad_x: Tensor, x: Tensor, shift: Tensor, slopes: Tensor, offsets: Tensor, window: Sequence[int]
) -> None:
    from mobileone.functional.kernels import depthwise_backward_triton

    slopes, offsets = (value.flatten(1).T.float().contiguous() for value in (slopes, offsets))
    depthwise_backward_triton.add_moments_gradient_(
        grad_x, channels_last(x), shift.float(), slopes, offsets, Window.of_flat(window)
    )
