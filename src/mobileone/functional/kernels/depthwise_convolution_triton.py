"""Depthwise 3×3 convolution with bias and ReLU on a GPU by Triton, and the gradient of its kernel.

The counterparts of depthwise_convolution.c. Kernel and bias stay in float32 whatever the activations are, so
a channel's mean is not moved by rounding its kernel.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mobileone.functional.kernels.depthwise_tiles import (
    gradient,
    image_at,
    launch,
    per_channel,
    pixels,
    programs_for_sums,
    strip_at,
    strips_of,
    tiles_of,
)
from mobileone.functional.window import Window

COLUMNS = 8


@triton.jit
def _convolution_kernel(
    x,
    kernel,
    bias,
    out,
    height,
    width,
    channels,
    out_height,
    out_width,
    tiles,
    strips,
    strip_rows,
    stride: tl.constexpr,
    relu: tl.constexpr,
    block_columns: tl.constexpr,
    block_channels: tl.constexpr,
):
    """out = kernel ∗ x + bias, then ReLU if asked for; kernel (9, channels), float32."""
    n, top, z, c = strip_at(tiles, strips, strip_rows, block_columns, block_channels)
    weights, shift = (), per_channel(bias, c, channels)
    for t in tl.static_range(9):
        weights = weights + (per_channel(kernel + t * channels, c, channels),)
    image, column = image_at(x, n, height, width, channels), z * stride
    to = image_at(out, n, out_height, out_width, channels)
    mask = (z < out_width)[:, None] & (c < channels)[None, :]
    above = pixels(image, top * stride - 1, column, c, height, width, channels, 0.0, -1, 3)
    here = pixels(image, top * stride, column, c, height, width, channels, 0.0, -1, 3)
    for y in range(top, tl.minimum(top + strip_rows, out_height)):
        if stride == 2:
            here = pixels(image, y * 2, column, c, height, width, channels, 0.0, -1, 3)
        below = pixels(image, y * stride + 1, column, c, height, width, channels, 0.0, -1, 3)
        taps, total = above + here + below, shift
        for t in tl.static_range(9):
            total = total + weights[t] * taps[t]
        if relu:
            total = tl.where(total < 0, 0.0, total)  # NaN stays NaN
        at = to + ((y * out_width + z) * channels)[:, None] + c[None, :]
        tl.store(at, total.to(out.dtype.element_ty), mask=mask)
        if stride == 1:
            above, here = here, below
        else:
            above = below


@triton.jit
def _kernel_gradient_kernel(
    x,
    shift,
    grad,
    out,
    sums,
    images,
    height,
    width,
    channels,
    out_height,
    out_width,
    tiles,
    stride: tl.constexpr,
    relu: tl.constexpr,
    block_columns: tl.constexpr,
    block_channels: tl.constexpr,
):
    """With g the gradient behind the ReLU, sums of g · (tap − shift) and of g: (programs, 10, channels)."""
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    centre = per_channel(shift, c, channels)
    total = (tl.zeros((block_columns, block_channels), tl.float32),) * 10
    for item in range(tl.program_id(0), images * tiles, tl.num_programs(0)):
        n, z = item // tiles, item % tiles * block_columns + tl.arange(0, block_columns)
        image, column = image_at(x, n, height, width, channels), z * stride
        grads, outs = (image_at(grad, n, out_height, out_width, channels),
                       image_at(out, n, out_height, out_width, channels))  # fmt: skip
        above = pixels(image, -1, column, c, height, width, channels, centre, -1, 3)
        here = pixels(image, 0, column, c, height, width, channels, centre, -1, 3)
        for y in range(out_height):
            if stride == 2:
                here = pixels(image, y * 2, column, c, height, width, channels, centre, -1, 3)
            below = pixels(image, y * stride + 1, column, c, height, width, channels, centre, -1, 3)
            # Outputs outside the image have no gradient, so their taps do not count.
            g = gradient(grads, outs, y, z, c, out_height, out_width, channels, relu)
            taps, new = above + here + below, ()
            for t in tl.static_range(9):
                new = new + (total[t] + g * taps[t],)
            total = new + (total[9] + g,)
            if stride == 1:
                above, here = here, below
            else:
                above = below
    at = sums + tl.program_id(0) * 10 * channels + c
    for k in tl.static_range(10):
        tl.store(at + k * channels, tl.sum(total[k], axis=0), mask=c < channels)


def convolution(x: Tensor, kernel: Tensor, bias: Tensor, window: Window, *, relu: bool) -> Tensor:
    """Depthwise convolution, then ReLU if asked for.

    Args:
        x: (N, C, H, W), channels_last, float32, bfloat16 or float16.
        kernel: (9, C), float32.
        bias: (C,), float32.
        window: geometry, such that `window.is_common`.
        relu: whether ReLU follows.

    Returns:
        (N, C, H', W'), of the dtype of x, channels_last.
    """
    images, channels, height, width = x.shape
    rows, columns = window.output_size(height, width)
    size = (images, channels, rows, columns)
    out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    cut = tiles_of(channels)
    programs, *strips = strips_of(images, rows, columns, COLUMNS, cut)
    launch(
        _convolution_kernel,
        (programs, cut.blocks),
        x,
        *(x, kernel, bias, out, height, width, channels, rows, columns, *strips),
        warps=cut.warps,
        stride=window.stride[0],
        relu=relu,
        block_columns=COLUMNS,
        block_channels=cut.channels,
    )
    return out


def kernel_gradient(x: Tensor, shift: Tensor, grad: Tensor, out: Tensor | None, window: Window) -> Tensor:
    """Sums (10, C), float32, over outputs: g · (tap − shift) for each of nine taps, and g.

    Args:
        x: input of the convolution, channels_last.
        shift: (C,), float32.
        grad: gradient of its output, channels_last.
        out: that output if ReLU gave it: g is the gradient before the ReLU. None without.
        window: geometry, such that `window.is_common`.
    """
    images, channels, height, width = x.shape
    rows, columns = grad.shape[2:]
    cut, tiles = tiles_of(channels), -(-columns // COLUMNS)
    programs = programs_for_sums(images * tiles, cut.blocks)
    sums = torch.empty(programs, 10, channels, dtype=torch.float32, device=x.device)
    sizes = (images, height, width, channels, rows, columns, tiles)
    launch(
        _kernel_gradient_kernel,
        (programs, cut.blocks),
        *(x, x, shift, grad, grad if out is None else out, sums, *sizes),
        warps=cut.warps,
        stride=window.stride[0],
        relu=out is not None,
        block_columns=COLUMNS,
        block_channels=cut.channels,
    )
    return sums.sum(0)
