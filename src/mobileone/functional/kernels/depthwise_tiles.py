"""How the Triton kernels walk the pixels of a depthwise 3×3 convolution, and what they are launched with.

Activations are channels_last. A program takes a block of channels and columns and goes down the rows, so that
a pixel comes from memory once and from the first cache three or five times. Sums over the batch stay in
registers from the first row to the last image of a program, and are reduced once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

# Programs that share a sum over the batch: a constant, so that sums do not depend on the device.
NUM_PROGRAMS = 1024
# Programs of a kernel without sums, below which images are cut into strips of rows.
ENOUGH_PROGRAMS = 2048
MIN_STRIP = 8


class Tiles(NamedTuple):
    """How a tensor is cut.

    Attributes:
        channels: of a block, a power of two.
        warps: of a program.
        blocks: of channels.
    """

    channels: int
    warps: int
    blocks: int


def tiles_of(channels: int) -> Tiles:
    """Blocks of 64 channels, or of fewer where 64 would leave lanes idle; 16 channels a warp."""
    block = next((b for b in (64, 32, 16) if channels % b == 0), 16)
    return Tiles(block, block // 16, -(-channels // block))


def programs_for_sums(items: int, blocks: int) -> int:
    """Programs that share a batch's items between them, for each block of channels."""
    return max(1, min(items, NUM_PROGRAMS // blocks))


def strip_height(rows: int, items: int) -> int:
    """Rows a program walks, where there are as many items with whole images."""
    strips = min(-(-ENOUGH_PROGRAMS // max(1, items)), max(1, rows // MIN_STRIP))
    return -(-rows // strips)


def strips_of(images: int, rows: int, columns: int, block_columns: int, cut: Tiles) -> tuple[int, ...]:
    """Tiles of columns, strips of rows, and rows of a strip; before them the programs that these are."""
    tiles = -(-columns // block_columns)
    height = strip_height(rows, images * tiles * cut.blocks)
    strips = -(-rows // height)
    return images * tiles * strips, tiles, strips, height


def launch(kernel: Any, grid: tuple[int, ...], x: Tensor, *args: Any, warps: int, **constants: Any) -> None:
    """Run a kernel on the device of x, which need not be the current one."""
    with torch.cuda.device_of(x):
        # Fused multiply-adds, which from Triton 3.10 on have to be asked for: the kernels are made of them.
        kernel[grid](*args, **constants, num_warps=warps, enable_fp_fusion=True)


@triton.jit
def strip_at(tiles, strips, strip_rows, block_columns: tl.constexpr, block_channels: tl.constexpr):
    """What this program takes: its image, the strip's first row, its columns and its channels."""
    item = tl.program_id(0)
    columns = item % tiles * block_columns + tl.arange(0, block_columns)
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    return item // (tiles * strips), item // tiles % strips * strip_rows, columns, c


@triton.jit
def per_channel(values, c, channels):
    """A value for each channel of a block, (1, channels)."""
    return tl.load(values + c, mask=c < channels, other=0.0)[None, :]


@triton.jit
def pixel(image, row, column, c, height, width, channels):
    """Pixels of an image at (row, column) (columns, channels), float32; 0 outside."""
    row = row + tl.zeros_like(column)  # the interpreter takes no scalar into a mask
    within = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    mask = within[:, None] & (c < channels)[None, :]
    # Within an image 32 bits are enough.
    at = (row * width + column) * channels
    return tl.load(image + at[:, None] + c[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def pixels(image, row, column, c, height, width, channels, centre, first: tl.constexpr, count: tl.constexpr):
    """`pixel` less centre at `count` columns side by side, from `first` columns to the right on."""
    found = ()
    for k in tl.static_range(count):
        found = found + (pixel(image, row, column + first + k, c, height, width, channels) - centre,)
    return found


@triton.jit
def gradient(grad, out, row, column, c, height, width, channels, relu: tl.constexpr):
    """The gradient behind the ReLU: 0 where the result is not above 0 (NaN passes)."""
    value = pixel(grad, row, column, c, height, width, channels)
    if relu:
        value = tl.where(pixel(out, row, column, c, height, width, channels) <= 0, 0.0, value)
    return value


@triton.jit
def image_at(x, n, height, width, channels):
    """Where image n starts: elements of a batch need 64 bits."""
    return x + n.to(tl.int64) * height * width * channels


@triton.jit
def frame_position(i, height, width, thickness: tl.constexpr):
    """Row and column of pixel i of an image's frame: its outermost rows, then what is left of columns."""
    rows, columns = tl.minimum(2 * thickness, height), tl.minimum(2 * thickness, width)
    flat, j = i < rows * width, i - rows * width
    y, z = tl.where(flat, i // width, thickness + j // columns), tl.where(flat, i % width, j % columns)
    y = tl.where(flat & (y >= thickness), height - rows + y, y)
    z = tl.where((flat == 0) & (z >= thickness), width - columns + z, z)
    return y, z


def frame_size(height: int, width: int, thickness: int) -> int:
    """Pixels of an image's frame."""
    return height * width - max(height - 2 * thickness, 0) * max(width - 2 * thickness, 0)
