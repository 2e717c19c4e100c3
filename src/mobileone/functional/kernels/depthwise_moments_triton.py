"""Moments of depthwise patches on a GPU by Triton: the counterparts of
depthwise_moments.c, over channels_last tensors.

Correct in Triton's interpreter at odd sizes, which is where they are tested; not yet timed on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mobileone.functional.window import Window

BLOCK_POSITIONS = 128
BLOCK_CHANNELS = 32


@triton.jit
def _load(  # type: ignore[no-untyped-def]
    x, n, row, column, c, shift, inside, height, width, channels
):
    """x − shift at (n, row, column) (positions, channels), where a pixel outside the image is 0; float32."""
    within = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    # Pixels fit 32 bits, elements need not.
    offset = ((n * height + row) * width + column).to(tl.int64) * channels
    mask = (within & inside)[:, None] & (c < channels)[None, :]
    value = tl.load(x + offset[:, None] + c[None, :], mask=mask, other=0.0).to(tl.float32)
    return tl.where(inside[:, None], value - shift[None, :], 0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _moments_kernel(  # type: ignore[no-untyped-def]
    x,
    shift,
    out,
    positions,
    height,
    width,
    channels,
    out_height,
    out_width,
    stride_h,
    stride_w,
    pad_h,
    pad_w,
    dilation_h,
    dilation_w,
    kernel_h: tl.constexpr,
    kernel_w: tl.constexpr,
    block_positions: tl.constexpr,
    block_channels: tl.constexpr,
):
    """Sums over one tile of outputs, of every tap and every product of two: out (tiles, T + T², channels)."""
    taps: tl.constexpr = kernel_h * kernel_w
    tile = tl.program_id(0)
    p = tile * block_positions + tl.arange(0, block_positions)
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    inside = p < positions
    n = p // (out_height * out_width)
    row = p // out_width % out_height * stride_h - pad_h
    column = p % out_width * stride_w - pad_w
    mean = tl.load(shift + c, mask=c < channels, other=0.0)
    to = out + tile.to(tl.int64) * (taps + taps * taps) * channels + c
    for t in tl.static_range(taps):
        y, z = row + t // kernel_w * dilation_h, column + t % kernel_w * dilation_w
        first = _load(x, n, y, z, c, mean, inside, height, width, channels)
        tl.store(to + t * channels, tl.sum(first, axis=0), mask=c < channels)
        for u in tl.static_range(taps):
            if u >= t:
                y, z = row + u // kernel_w * dilation_h, column + u % kernel_w * dilation_w
                second = _load(x, n, y, z, c, mean, inside, height, width, channels)
                total = tl.sum(first * second, axis=0)
                tl.store(to + (taps + t * taps + u) * channels, total, mask=c < channels)
                if u > t:
                    tl.store(to + (taps + u * taps + t) * channels, total, mask=c < channels)


@triton.jit  # type: ignore[untyped-decorator]
def _backward_kernel(  # type: ignore[no-untyped-def]
    x,
    shift,
    slopes,
    offsets,
    grad_x,
    positions,
    height,
    width,
    channels,
    out_height,
    out_width,
    stride_h,
    stride_w,
    pad_h,
    pad_w,
    dilation_h,
    dilation_w,
    kernel_h: tl.constexpr,
    kernel_w: tl.constexpr,
    block_positions: tl.constexpr,
    block_channels: tl.constexpr,
):
    """grad_x += Σ over taps t that the pixel can be of offsets[t] + Σ_u slopes[t, u] · (x − shift) there."""
    taps: tl.constexpr = kernel_h * kernel_w
    p = tl.program_id(0) * block_positions + tl.arange(0, block_positions)
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    inside = p < positions
    n, row, column = p // (height * width), p // width % height, p % width
    mean = tl.load(shift + c, mask=c < channels, other=0.0)
    total = tl.zeros((block_positions, block_channels), dtype=tl.float32)
    for t in tl.static_range(taps):
        top = row + pad_h - t // kernel_w * dilation_h
        left = column + pad_w - t % kernel_w * dilation_w
        valid = inside & (top >= 0) & (top % stride_h == 0) & (top // stride_h < out_height)
        valid = valid & (left >= 0) & (left % stride_w == 0) & (left // stride_w < out_width)
        value = tl.load(offsets + t * channels + c, mask=c < channels, other=0.0)[None, :]
        value = tl.broadcast_to(value, (block_positions, block_channels))
        for u in tl.static_range(taps):
            slope = tl.load(slopes + (t * taps + u) * channels + c, mask=c < channels, other=0.0)
            y = row + (u // kernel_w - t // kernel_w) * dilation_h
            z = column + (u % kernel_w - t % kernel_w) * dilation_w
            value += slope[None, :] * _load(x, n, y, z, c, mean, valid, height, width, channels)
        total += tl.where(valid[:, None], value, 0.0)
    at = grad_x + p[:, None].to(tl.int64) * channels + c[None, :]
    mask = inside[:, None] & (c < channels)[None, :]
    total += tl.load(at, mask=mask, other=0.0).to(tl.float32)
    tl.store(at, total.to(grad_x.dtype.element_ty), mask=mask)


def _launch(kernel: Any, positions: int, x: Tensor, window: Window, *pointers: Tensor) -> None:
    channels, height, width = x.shape[1:]
    (kernel_h, kernel_w), *rest = window
    grid = (triton.cdiv(positions, BLOCK_POSITIONS), triton.cdiv(channels, BLOCK_CHANNELS))
    # Triton launches on the current device, which need not be the tensor's.
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        kernel[grid](
            *pointers,
            positions,
            height,
            width,
            channels,
            *window.output_size(height, width),
            *(value for pair in rest for value in pair),
            kernel_h=kernel_h,
            kernel_w=kernel_w,
            block_positions=BLOCK_POSITIONS,
            block_channels=BLOCK_CHANNELS,
        )


def depthwise_moments(x: Tensor, window: Window) -> tuple[Tensor, Tensor, Tensor]:
    """As the operator of that name: shift (C,), mean (C, T) and cov (C, T, T), in float32.

    Args:
        x: (N, C, H, W), float32, bfloat16 or float16.
        window: of the convolution.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    channels, taps, count = x.shape[1], window.num_taps, window.count(x.shape)
    shift = x[0].mean((1, 2), dtype=torch.float32)
    tiles = triton.cdiv(count, BLOCK_POSITIONS)
    sums = torch.empty(tiles, taps + taps * taps, channels, dtype=torch.float32, device=x.device)
    _launch(_moments_kernel, count, x, window, x, shift, sums)
    total = (sums.sum(0) / count).T.contiguous()
    first, second = total[:, :taps], total[:, taps:].reshape(channels, taps, taps)
    cov = second - first.unsqueeze(2) * first.unsqueeze(1)
    return shift, first + shift.unsqueeze(1), cov


def depthwise_moments_backward_(
    grad_x: Tensor, x: Tensor, shift: Tensor, slopes: Tensor, offsets: Tensor, window: Window
) -> None:
    """As the operator of that name: adds to grad_x, which is channels_last.

    Args:
        grad_x: (N, C, H, W).
        x: the same shape.
        shift: (C,).
        slopes: (C, T, T).
        offsets: (C, T).
        window: of the convolution.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    by_tap = [value.flatten(1).T.to(torch.float32).contiguous() for value in (slopes, offsets)]
    pixels = x.numel() // x.shape[1]
    _launch(_backward_kernel, pixels, x, window, x, shift.float(), *by_tap, grad_x)
