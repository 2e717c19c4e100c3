"""Moments of depthwise 3×3 patches on a GPU by Triton: the counterparts of depthwise_moments.c.

At stride 1 the product of taps t and u is x[q] x[q + d] with d = u − t, at the pixel q under tap t: 13 lags
do for 45 products, wherever q can be every tap. Where it cannot, at outputs within two pixels of the image's
edge, and at stride 2 (where lags are few outputs apart) the products are summed one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from mobileone.functional.kernels.depthwise_tiles import (
    frame_position,
    frame_size,
    image_at,
    launch,
    per_channel,
    pixels,
    programs_for_sums,
    tiles_of,
)
from mobileone.functional.memory_layout import channels_last
from mobileone.functional.window import Window

TAPS = 9
# For each of 9 × 9 products of taps, where it is in the upper triangle, and which lag it is.
_PAIRS = tuple((min(t, u), max(t, u)) for t in range(TAPS) for u in range(TAPS))
_STEPS = tuple((last // 3 - first // 3, last % 3 - first % 3) for first, last in _PAIRS)
IN_TRIANGLE = tuple(first * TAPS - first * (first - 1) // 2 + last - first for first, last in _PAIRS)
LAG_OF_PAIR = tuple(5 * down + right if down else right for down, right in _STEPS)
LAG_COLUMNS = 8
# Said to the compiler, which else squeezes some 140 into 128 and spills: three programs of four warps on a
# multiprocessor either way.
LAG_REGISTERS = 168
PRODUCT_ELEMENTS = 64  # a warp: two a thread, whose 54 sums are 108 registers


@triton.jit
def _lags_kernel(
    x,
    shift,
    sums,
    images,
    height,
    width,
    channels,
    tiles,
    block_columns: tl.constexpr,
    block_channels: tl.constexpr,
):
    """Sums of every lag, and of x itself, over pixels that can be all nine taps: (programs, 14, channels).

    Lags are d = (0, 0), (0, 1), (0, 2), then (1, −2) to (1, 2) and (2, −2) to (2, 2).
    """
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    centre = per_channel(shift, c, channels)
    total = (tl.zeros((block_columns, block_channels), tl.float32),) * 14
    for item in range(tl.program_id(0), images * tiles, tl.num_programs(0)):
        image = image_at(x, item // tiles, height, width, channels)
        column = 1 + item % tiles * block_columns + tl.arange(0, block_columns)
        inside = (column < width - 1)[:, None]
        # What a pixel is multiplied with: itself and two to the right, and five in each of two rows below.
        here = pixels(image, 1, column, c, height, width, channels, centre, 0, 3)
        below = pixels(image, 2, column, c, height, width, channels, centre, -2, 5)
        for y in range(1, height - 1):
            low = pixels(image, y + 2, column, c, height, width, channels, centre, -2, 5)
            value = tl.where(inside, here[0], 0.0)
            others = here + below + low
            new = ()
            for k in tl.static_range(13):
                new = new + (total[k] + value * others[k],)
            total = new + (total[13] + value,)
            here = (below[2], below[3], below[4])
            below = low
    at = sums + tl.program_id(0) * 14 * channels + c
    for k in tl.static_range(14):
        tl.store(at + k * channels, tl.sum(total[k], axis=0), mask=c < channels)


@triton.jit
def _products_kernel(
    x,
    shift,
    sums,
    outputs,
    image_outputs,
    height,
    width,
    channels,
    out_height,
    out_width,
    stride: tl.constexpr,
    frame: tl.constexpr,
    block_outputs: tl.constexpr,
    block_channels: tl.constexpr,
):
    """Sums of every tap and of the product of every two: (programs, 9 + 45, channels), an upper triangle.

    With `frame`, over outputs within two of the edge, and of taps there that can not be all nine: what the
    lags leave.
    """
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    centre = per_channel(shift, c, channels)
    total = (tl.zeros((block_outputs, block_channels), tl.float32),) * 54
    for tile in range(tl.program_id(0), tl.cdiv(outputs, block_outputs), tl.num_programs(0)):
        p = tile * block_outputs + tl.arange(0, block_outputs)
        n, i = p // image_outputs, p % image_outputs
        if frame:
            y, z = frame_position(i, out_height, out_width, 2)
        else:
            y, z = i // out_width, i % out_width
        image = image_at(x, n, height, width, channels)[:, None] + c[None, :]
        first, second = (), ()
        for t in tl.static_range(9):
            row, column = y * stride + (t // 3 - 1), z * stride + (t % 3 - 1)
            within = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (p < outputs)
            at = image + ((row * width + column) * channels)[:, None]
            value = tl.load(at, mask=within[:, None] & (c < channels)[None, :], other=0.0)
            value = value.to(tl.float32) - centre
            second = second + (value,)
            counts = p < outputs
            if frame:
                core = (row >= 1) & (row < height - 1) & (column >= 1) & (column < width - 1)
                counts = counts & (core == 0)
            first = first + (tl.where(counts[:, None], value, 0.0),)
        new = ()
        for t in tl.static_range(9):
            new = new + (total[t] + first[t],)
        for t in tl.static_range(9):
            for u in tl.static_range(9):
                if u >= t:
                    new = new + (total[9 + t * 9 - t * (t - 1) // 2 + u - t] + first[t] * second[u],)
        total = new
    at = sums + tl.program_id(0) * 54 * channels + c
    for k in tl.static_range(54):
        tl.store(at + k * channels, tl.sum(total[k], axis=0), mask=c < channels)


def depthwise_moments(x: Tensor, window: Window) -> tuple[Tensor, Tensor, Tensor]:
    """As the operator of that name: shift (C,), mean (C, T) and cov (C, T, T), in float32.

    Args:
        x: (N, C, H, W), float32, bfloat16 or float16.
        window: of the convolution, such that `window.is_common`.
    """
    x = channels_last(x)
    channels, height, width = x.shape[1:]
    count = window.count(x.shape)
    # Centred on the first image's mean: sums of squares must not cancel where a mean is large.
    shift = x[0].mean((1, 2), dtype=torch.float32)
    sums = _sum_products(x, shift, window)
    first, second = sums[:TAPS], _picked(sums[TAPS:], IN_TRIANGLE)
    if window.stride == (1, 1) and min(height, width) > 2:
        lags = _sum_lags(x, shift)
        first, second = first + lags[13], second + _picked(lags, LAG_OF_PAIR)
    first, second = ((part / count).T.contiguous() for part in (first, second))
    second = second.view(channels, TAPS, TAPS)
    cov = second - first.unsqueeze(2) * first.unsqueeze(1)
    return shift, first + shift.unsqueeze(1), cov


def _sum_lags(x: Tensor, shift: Tensor) -> Tensor:
    images, channels, height, width = x.shape
    tiles, cut = -(-(width - 2) // LAG_COLUMNS), tiles_of(channels)
    programs = programs_for_sums(images * tiles, cut.blocks)
    sums = torch.empty(programs, 14, channels, dtype=torch.float32, device=x.device)
    sizes = (images, height, width, channels, tiles)
    constants = {"block_columns": LAG_COLUMNS, "block_channels": cut.channels, "maxnreg": LAG_REGISTERS}
    launch(_lags_kernel, (programs, cut.blocks), x, x, shift, sums, *sizes, warps=cut.warps, **constants)
    return sums.sum(0)


def _sum_products(x: Tensor, shift: Tensor, window: Window) -> Tensor:
    images, channels, height, width = x.shape
    out_height, out_width = window.output_size(height, width)
    frame = window.stride == (1, 1)
    of_image = frame_size(out_height, out_width, 2) if frame else out_height * out_width
    cut = tiles_of(channels)
    block = PRODUCT_ELEMENTS * cut.warps // cut.channels
    programs = programs_for_sums(-(-images * of_image // block), cut.blocks)
    sums = torch.empty(programs, 54, channels, dtype=torch.float32, device=x.device)
    sizes = (images * of_image, of_image, height, width, channels, out_height, out_width)
    constants = {"stride": window.stride[0], "frame": frame, "block_outputs": block}
    grid = (programs, cut.blocks)
    launch(
        _products_kernel,
        grid,
        x,
        *(x, shift, sums, *sizes),
        warps=cut.warps,
        block_channels=cut.channels,
        **constants,
    )
    return sums.sum(0)


def _picked(rows: Tensor, indices: Sequence[int]) -> Tensor:
    """These rows of (R, C): without a tensor of indices, whose way to the device would be waited for."""
    parts = rows.unbind(0)
    return torch.stack([parts[i] for i in indices])
