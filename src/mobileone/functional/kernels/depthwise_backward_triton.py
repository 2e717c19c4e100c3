"""Gradient of a depthwise 3×3 unit's input on a GPU by Triton: convolution, ReLU and moments in one pass.

A pixel that is tap t of some patches gets, from the moments, offsets[t] + Σ_u slopes[t, u] · (tap u − shift).
Summed over the taps that it is, this is one stencil over the pixels around it. At stride 1 all pixels but
those of the edge have the same, of 25 points, equal at d and −d; at stride 2 there are four, by whether row
and column are even or odd. Pixels of the edge, which are fewer taps, are a kernel of their own.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mobileone.functional.kernels.depthwise_tiles import (
    frame_position,
    frame_size,
    gradient,
    image_at,
    launch,
    per_channel,
    pixels,
    strip_at,
    strips_of,
    tiles_of,
)
from mobileone.functional.window import Window

COLUMNS = 8
FRAME_PIXELS = 16


def register_limit(stride: int, dtype: torch.dtype) -> dict[str, int]:
    """What to say to the compiler, which else may take a register or two fewer than it needs, and spill."""
    if stride == 2:
        return {"maxnreg": 128}
    return {"maxnreg": 200} if dtype == torch.float32 else {}


@triton.jit
def _stencil_kernel(slopes, offsets, stencils, channels, stride: tl.constexpr, block: tl.constexpr):
    """Coefficients of the 25 lags, row by row, then the constant: (phases, 26, channels)."""
    c = tl.program_id(0) * block + tl.arange(0, block)
    mask = c < channels
    for phase in tl.static_range(stride * stride):
        to = stencils + phase * 26 * channels + c
        for lag in tl.static_range(25):
            total = tl.zeros((block,), tl.float32)
            for t in tl.static_range(9):
                # Even rows and columns are middle taps, odd ones the outer.
                if (
                    stride == 1 or ((t // 3 != 1) * 2 + (t % 3 != 1)) == phase
                ) and (  # Triton before 3.4 takes two at a time
                    (t // 3 + lag // 5 >= 2 and t // 3 + lag // 5 < 5)
                    and (t % 3 + lag % 5 >= 2 and t % 3 + lag % 5 < 5)
                ):
                    at = slopes + ((t * 9 + (t // 3 + lag // 5 - 2) * 3 + t % 3 + lag % 5 - 2) * channels + c)
                    total += tl.load(at, mask=mask, other=0.0)
            tl.store(to + lag * channels, total, mask=mask)
        total = tl.zeros((block,), tl.float32)
        for t in tl.static_range(9):
            if stride == 1 or ((t // 3 != 1) * 2 + (t % 3 != 1)) == phase:
                total += tl.load(offsets + t * channels + c, mask=mask, other=0.0)
        tl.store(to + 25 * channels, total, mask=mask)


@triton.jit
def _store(grad_x, total, row, column, c, height, width, channels, add: tl.constexpr):
    """Write a row of gradients but for those of the edge."""
    row = row + tl.zeros_like(column)
    within = (row >= 1) & (row < height - 1) & (column >= 1) & (column < width - 1)
    mask = within[:, None] & (c < channels)[None, :]
    at = grad_x + ((row * width + column) * channels)[:, None] + c[None, :]
    if add:
        total = total + tl.load(at, mask=mask, other=0.0).to(tl.float32)
    tl.store(at, total.to(grad_x.dtype.element_ty), mask=mask)


@triton.jit
def _with_stencil(pending, seen, stencils, c, channels):
    """Five rows of gradients, y − 2 to y + 2, and what row y of pixels adds to each; (five rows)."""
    new = ()
    for j in tl.static_range(5):  # row y + j − 2, which sees this one at lag 2 − j
        total = pending[j]
        for k in tl.static_range(5):
            # At lag (4 − j) · 5 + k of 25, or the same at its opposite: thirteen coefficients do.
            lag = (4 - j) * 5 + k if (4 - j) * 5 + k < 13 else 24 - (4 - j) * 5 - k
            total = total + per_channel(stencils + lag * channels, c, channels) * seen[k]
        new = new + (total,)
    return new


@triton.jit
def _with_convolution(pending, spread, kernel, c, channels):
    """The same five rows, and what row y of the output's gradients adds to three of them."""
    new = (pending[0],)
    for v in tl.static_range(3):
        total = pending[v + 1]
        for h in tl.static_range(3):
            total = total + per_channel(kernel + (v * 3 + h) * channels, c, channels) * spread[h]
        new = new + (total,)
    return new + (pending[4],)


@triton.jit
def _pixels_of_output(image, stencils, y, z, down, c, height, width, channels, centre):
    """Stride 2: what the moments give an output's pixel, even and odd, in its own row or the one below."""
    even = tl.zeros_like(z).to(tl.float32)[:, None] + per_channel(stencils + 25 * channels, c, channels)
    odd = tl.zeros_like(z).to(tl.float32)[:, None] + per_channel(stencils + 51 * channels, c, channels)
    # A row of x at a time; even pixels see one to each side, odd ones two.
    for i in range(1 - down, 4 + down):
        seen = pixels(image, 2 * y + i + down - 2, 2 * z, c, height, width, channels, centre, -1, 5)
        at = stencils + i * 5 * channels
        for k in tl.static_range(5):
            if k < 3:
                even += per_channel(at + (k + 1) * channels, c, channels) * seen[k]
            odd += per_channel(at + (26 + k) * channels, c, channels) * seen[k]
    return even, odd


@triton.jit
def _inner_kernel(
    x,
    shift,
    stencils,
    grad,
    out,
    kernel,
    grad_x,
    height,
    width,
    channels,
    out_height,
    out_width,
    tiles,
    strips,
    strip_rows,
    stride: tl.constexpr,
    add: tl.constexpr,
    relu: tl.constexpr,
    block_columns: tl.constexpr,
    block_channels: tl.constexpr,
):
    """All pixels but those of the edge.

    At stride 1 every row of x and of the gradient adds to the five rows about it, held in registers. At
    stride 2 each output has four pixels, its centre and those to the right and below.
    """
    n, top, z, c = strip_at(tiles, strips, strip_rows, block_columns, block_channels)
    end, centre = tl.minimum(top + strip_rows, out_height), per_channel(shift, c, channels)
    image, to = image_at(x, n, height, width, channels), image_at(grad_x, n, height, width, channels)
    grads, outs = (image_at(grad, n, out_height, out_width, channels),
                   image_at(out, n, out_height, out_width, channels))  # fmt: skip
    if stride == 1:
        pending = (tl.zeros((block_columns, block_channels), tl.float32),) * 5
        for y in range(top - 2, end + 2):
            seen = pixels(image, y, z, c, height, width, channels, centre, -2, 5)
            pending = _with_stencil(pending, seen, stencils, c, channels)
            if not add:
                spread = ()
                for h in tl.static_range(3):
                    g = gradient(grads, outs, y, z + 1 - h, c, out_height, out_width, channels, relu)
                    spread = spread + (g,)
                pending = _with_convolution(pending, spread, kernel, c, channels)
            if y - 2 >= top:
                total = pending[0] + per_channel(stencils + 25 * channels, c, channels)
                _store(to, total, y - 2, z, c, height, width, channels, add)
            pending = (pending[1], pending[2], pending[3], pending[4], tl.zeros_like(pending[0]))
    else:
        for y in range(top, end):
            for down in tl.static_range(2):  # the output's own row of pixels, then the odd one below it
                phases = stencils + down * 52 * channels
                even, odd = _pixels_of_output(image, phases, y, z, down, c, height, width, channels, centre)
                if not add:
                    for i in range(1 + down):
                        # An even row is the middle tap's; an odd one this one's last, the next one's first.
                        at = kernel + (1 + down - 2 * i) * 3 * channels
                        for h in tl.static_range(2):
                            g = gradient(grads, outs, y + i, z + h, c, out_height, out_width, channels, relu)
                            odd += per_channel(at + (2 - 2 * h) * channels, c, channels) * g
                            if h == 0:
                                even += per_channel(at + channels, c, channels) * g
                _store(to, even, 2 * y + down, 2 * z, c, height, width, channels, add)
                _store(to, odd, 2 * y + down, 2 * z + 1, c, height, width, channels, add)


@triton.jit
def _edge_kernel(
    x,
    shift,
    slopes,
    offsets,
    grad,
    out,
    kernel,
    grad_x,
    edge,
    image_edge,
    height,
    width,
    channels,
    out_height,
    out_width,
    stride: tl.constexpr,
    add: tl.constexpr,
    relu: tl.constexpr,
    block_pixels: tl.constexpr,
    block_channels: tl.constexpr,
):
    """The pixels of the images' edges, tap by tap."""
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    p, held = tl.program_id(0) * block_pixels + tl.arange(0, block_pixels), c < channels
    row, column = frame_position(p % image_edge, height, width, 1)
    n, inside = (p // image_edge).to(tl.int64), p < edge
    centre = per_channel(shift, c, channels)
    pixel_of, output_of = n * height * width, n * out_height * out_width
    total = tl.zeros((block_pixels, block_channels), tl.float32)
    for t in range(9):
        high, left = row + 1 - t // 3, column + 1 - t % 3
        y, z = high // stride, left // stride
        valid = inside & (high >= 0) & (high % stride == 0) & (y < out_height)
        valid = valid & (left >= 0) & (left % stride == 0) & (z < out_width)
        value = per_channel(offsets + t * channels, c, channels)
        for u in tl.static_range(9):
            above, aside = row + u // 3 - t // 3, column + u % 3 - t % 3
            within = valid & (above >= 0) & (above < height) & (aside >= 0) & (aside < width)
            at = x + ((pixel_of + above * width + aside) * channels)[:, None] + c[None, :]
            seen = tl.load(at, mask=within[:, None] & held[None, :], other=0.0).to(tl.float32) - centre
            value = value + per_channel(slopes + (t * 9 + u) * channels, c, channels) * seen
        if not add:
            at = ((output_of + y * out_width + z) * channels)[:, None] + c[None, :]
            mask = valid[:, None] & held[None, :]
            g = tl.load(grad + at, mask=mask, other=0.0).to(tl.float32)
            if relu:
                g = tl.where(tl.load(out + at, mask=mask, other=0.0) <= 0, 0.0, g)
            value = value + per_channel(kernel + t * channels, c, channels) * g
        total += tl.where(valid[:, None], value, 0.0)
    at = grad_x + ((pixel_of + row * width + column) * channels)[:, None] + c[None, :]
    mask = inside[:, None] & held[None, :]
    if add:
        total += tl.load(at, mask=mask, other=0.0).to(tl.float32)
    tl.store(at, total.to(grad_x.dtype.element_ty), mask=mask)


def input_gradient(
    x: Tensor,
    shift: Tensor,
    slopes: Tensor,
    offsets: Tensor,
    grad: Tensor,
    out: Tensor | None,
    kernel: Tensor,
    window: Window,
) -> Tensor:
    """Gradient of x, by the convolution and by the moments of its patches.

    Args:
        x: input of the convolution, channels_last.
        shift: (C,), float32, as all that follows but activations.
        slopes: of the moments, (9, 9, C), with slopes[t, u] = slopes[u, t].
        offsets: (9, C).
        grad: gradient of the output, channels_last.
        out: the output if ReLU gave it.
        kernel: (9, C).
        window: geometry, such that `window.is_common`.
    """
    grad_x = torch.empty_like(x)
    _backward(grad_x, x, shift, slopes, offsets, window, grad, out, kernel)
    return grad_x


def add_moments_gradient_(
    grad_x: Tensor, x: Tensor, shift: Tensor, slopes: Tensor, offsets: Tensor, window: Window
) -> None:
    """Add what the moments ask of x to grad_x, which is channels_last; arguments as in `input_gradient`."""
    _backward(grad_x, x, shift, slopes, offsets, window)


def _backward(
    grad_x: Tensor,
    x: Tensor,
    shift: Tensor,
    slopes: Tensor,
    offsets: Tensor,
    window: Window,
    grad: Tensor | None = None,
    out: Tensor | None = None,
    kernel: Tensor | None = None,
) -> None:
    """With `grad`, grad_x is written; without, there is no convolution, and it is added to."""
    images, channels, height, width = x.shape
    (stride, _), (rows, columns) = window.stride, window.output_size(height, width)
    cut, size = tiles_of(channels), (height, width, channels, rows, columns)
    stencils = torch.empty(stride * stride, 26, channels, dtype=torch.float32, device=x.device)
    launch(
        _stencil_kernel, (cut.blocks,), x, slopes, offsets, stencils, channels,
        warps=1, stride=stride, block=cut.channels,
    )  # fmt: skip
    # What is not there is not read; a launch wants a pointer all the same.
    to = (
        x if grad is None else grad,
        x if out is None else out,
        shift if kernel is None else kernel,
        grad_x,
    )
    flags = {
        "warps": cut.warps,
        "stride": stride,
        "add": grad is None,
        "relu": out is not None,
        "block_channels": cut.channels,
    }
    if min(height, width) > 2:
        programs, *strips = strips_of(images, rows, columns, COLUMNS, cut)
        args = (x, shift, stencils, *to, *size, *strips)
        flags_within = flags | {"block_columns": COLUMNS} | register_limit(stride, x.dtype)
        launch(_inner_kernel, (programs, cut.blocks), x, *args, **flags_within)
    of_image = frame_size(height, width, 1)
    programs = -(-images * of_image // FRAME_PIXELS)
    args = (x, shift, slopes, offsets, *to, images * of_image, of_image, *size)
    launch(_edge_kernel, (programs, cut.blocks), x, *args, block_pixels=FRAME_PIXELS, **flags)
