"""Weights in the order in which the C kernels read them, and the shapes that kernels are compiled for.

One order serves vectors of 16, 8 and 4 lanes: the narrower ones read their share of each 64 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.c.network_steps import DEPTHWISE_BLOCK, VECTOR, round_up
from mobileone.backends.fused_layers import ConvLayer
from mobileone.errors import ExportError

Int8s: TypeAlias = NDArray[np.int8]
Int32s: TypeAlias = NDArray[np.int32]
Float32s: TypeAlias = NDArray[np.float32]
UINT8_MAX, INT32_MAX = 255, 2**31 - 1
LIFT, LIFT_BITS = 2**23, 0x4B000000  # a float, and its bits
KERNEL_TAPS = 3
LOWEST_STEPS = -float(1 << 22)
SPLIT_PIXEL = 16  # products that take as long as moving one pixel's outputs to another row
# Pixels of a tile, at most, by the vectors of sums that a pixel has. Registers hold the sums; avx512vnni has
# room for 14, but of smaller tiles the processor rounds one while it multiplies the next.
MOST_PIXELS = {
    "avx512vnni": {1: 14, 2: 7, 3: 4},
    "avxvnni": {1: 8, 2: 6, 3: 6},
    "avx2": {1: 8, 2: 4, 3: 4},
    "neon": {1: 5, 2: 5, 3: 4},
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PackedLayer:
    """Constants of one convolution or linear layer.

    Attributes:
        weights: int8, flat, in the kernels' order.
        bias: for activations as bytes.
        signed_bias: for activations less 128.
        scale: from the sum to the output's steps.
    """

    weights: Int8s
    bias: Int32s
    signed_bias: Int32s
    scale: Float32s


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PackedPanel:
    """Output channels that one kernel computes, 16 · vectors a block.

    Attributes:
        layer: their constants.
        vectors: 1 to 3.
        blocks: how many.
        channel: the first.
        groups: of four input channels.
    """

    layer: PackedLayer
    vectors: int
    blocks: int
    channel: int
    groups: int


@dataclass(frozen=True, slots=True, order=True)
class TileShape:
    """A pointwise kernel's constants.

    Attributes:
        pitch: bytes from one pixel to the next.
        groups: of four input channels.
        vectors: of a block.
        pixels: of a tile, by the family of kernels; one that is not there chooses tiles by itself.
    """

    pitch: int
    groups: int
    vectors: int
    pixels: tuple[tuple[str, int], ...]


def tile_shape(pitch: int, vectors: int, pixels: int, *, groups: int = 64, width: int = 0) -> TileShape:
    """The tiles that take least time for a strip of so many pixels.

    Args:
        pitch: bytes from one pixel to the next.
        vectors: of a block.
        pixels: of the strip.
        groups: of four input channels.
        width: of a row, where the rows of outputs do not follow one another; a tile in two rows costs more.

    >>> dict(tile_shape(128, 2, 56).pixels)["avx512vnni"], dict(tile_shape(256, 2, 49).pixels)["avx512vnni"]
    (7, 7)
    """

    def cost(size: int) -> tuple[int, int]:
        starts = range(0, pixels, size)
        products = len(starts) * groups * (size * vectors + vectors + 1)  # and loads of weights, and the loop
        split = sum(1 for at in starts if width and at // width != (at + size - 1) // width)
        return products + split * size * SPLIT_PIXEL, len(starts)

    chosen = {name: min(range(1, most[vectors] + 1), key=cost) for name, most in MOST_PIXELS.items()}
    return TileShape(pitch, groups, vectors, tuple(sorted(chosen.items())))


def panel_widths(channels: int) -> list[tuple[int, int]]:
    """(vectors, blocks) for so many output channels: pairs of vectors, and one of three where they are odd.

    >>> panel_widths(128), panel_widths(48), panel_widths(80), panel_widths(7)
    ([(2, 4)], [(3, 1)], [(3, 1), (2, 1)], [(1, 1)])
    """
    vectors = round_up(channels, VECTOR) // VECTOR
    if vectors == 1:
        return [(1, 1)]
    widths = [(3, 1)] if vectors % 2 else []
    pairs = (vectors - 3 * (vectors % 2)) // 2
    return [*widths, (2, pairs)] if pairs else widths


def lane_channels(vectors: int) -> NDArray[np.int64]:
    """The channel of a block that each lane holds: pairs of vectors take turns every four channels.

    >>> lane_channels(2)[:4].tolist(), lane_channels(2)[16:20].tolist(), lane_channels(3)[32:].tolist()[:2]
    ([0, 1, 2, 3], [4, 5, 6, 7], [32, 33])
    """
    lanes = np.arange(VECTOR * vectors)
    paired = lanes % 16 // 4 * 8 + lanes // 16 * 4 + lanes % 4
    return np.where((lanes < 2 * VECTOR) & (vectors > 1), paired, lanes)


def depthwise_lane_channels() -> NDArray[np.int64]:
    """The channel of a block of 64 that each lane holds: as interleaving bytes leaves them."""
    lanes = np.arange(DEPTHWISE_BLOCK)
    return lanes % 16 // 4 * 16 + lanes // 16 * 4 + lanes % 4


def pack_panels(weight: Int8s, bias: Int32s, scale: Float32s, *, groups: int) -> list[PackedPanel]:
    """A matrix (out, in) in panels: each block's weights are (groups, vectors, 16 lanes, 4 input channels).

    Args:
        weight: int8.
        bias: of each output.
        scale: of each output.
        groups: of four inputs; what is more than there are is zero.
    """
    out, inputs = weight.shape
    widths = panel_widths(out)
    padded = np.zeros((sum(VECTOR * v * n for v, n in widths), 4 * groups), np.int8)
    padded[:out, :inputs] = weight
    panels, channel = [], 0
    for vectors, blocks in widths:
        lanes = np.concatenate(
            [channel + VECTOR * vectors * b + lane_channels(vectors) for b in range(blocks)]
        )
        rows = padded[lanes].reshape(blocks, vectors, VECTOR, groups, 4)
        layer = _packed(rows.transpose(0, 3, 1, 2, 4), lanes, bias, scale, padded)
        panels.append(
            PackedPanel(layer=layer, vectors=vectors, blocks=blocks, channel=channel, groups=groups)
        )
        channel += VECTOR * vectors * blocks
    return panels


def pack_depthwise(weight: Int8s, bias: Int32s, scale: Float32s, *, stride: int) -> PackedLayer:
    """(C, 1, 3, 3) as (blocks of 64, kernel's column, row of output, 4 vectors, 16 lanes, 4 rows of input).

    With stride 1 two rows of output come from four rows of input; the second one's kernel is one row lower.
    """
    channels, rows = len(weight), 2 if stride == 1 else 1
    blocks = round_up(channels, DEPTHWISE_BLOCK) // DEPTHWISE_BLOCK
    padded = np.zeros((blocks * DEPTHWISE_BLOCK, KERNEL_TAPS, KERNEL_TAPS), np.int8)
    padded[:channels] = weight[:, 0]
    lanes = np.concatenate([DEPTHWISE_BLOCK * b + depthwise_lane_channels() for b in range(blocks)])
    packed = np.zeros((blocks, KERNEL_TAPS, rows, DEPTHWISE_BLOCK, 4), np.int8)
    kernels = padded[lanes].reshape(blocks, DEPTHWISE_BLOCK, KERNEL_TAPS, KERNEL_TAPS)  # ky, kx
    for row in range(rows):
        packed[:, :, row, :, row : row + KERNEL_TAPS] = kernels.transpose(0, 3, 1, 2)
    return _packed(packed, lanes, bias, scale, padded.reshape(len(padded), -1))


def gather_places(stem: ConvLayer) -> NDArray[np.uint8]:
    """(kernel rows, 64): of 16 bytes of each row, which go where for two outputs of the first convolution.

    An output has 32 bytes; 128 is for a zero, where another row's bytes go.
    """
    _, channels, kernel_height, kernel_width = stem.weight.shape
    run, apart = kernel_width * channels, stem.stride[1] * channels
    places = np.full((kernel_height, 2, 32), 128, np.uint8)
    for ky in range(kernel_height):
        for output in range(2):
            places[ky, output, ky * run : (ky + 1) * run] = output * apart + np.arange(run)
    return places.reshape(kernel_height, -1)


def safe_bias(name: str, weight: Int8s, bias: Int32s, scale: Float32s) -> Int32s:
    """Biases with which no sum leaves 32 bits; where a channel never fires, one that keeps it so.

    Raises:
        ExportError: if sums do not fit.
    """
    reach = 256 * np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1)
    wide = bias.astype(np.int64)
    safe = np.clip(wide, reach - INT32_MAX, None)
    silent = (safe + reach) * scale.astype(np.float64) < -UINT8_MAX - 1
    if ((safe != wide) & ~silent).any() or ((wide + reach) * np.maximum(scale, 1) >= INT32_MAX).any():
        raise ExportError(f"{name}: sums of products do not fit into 32 bits; the C engine cannot compute it")
    return safe.astype(np.int32)


def settle_constants(weight: Int8s, bias: Int32s, scale: Float32s) -> tuple[Int32s, Float32s]:
    """Bias and scale with which a channel without weights gives the same integer from a small sum.

    Such a channel's scale is next to nothing and its bias huge: the only sums in a trained network that
    `can_lift` would refuse.
    """
    constant = ~weight.any(1)
    output = np.rint(bias.astype(np.float32) * scale).clip(-UINT8_MAX, UINT8_MAX)
    return (
        np.where(constant, output, bias).astype(np.int32),
        np.where(constant, 1, scale).astype(np.float32),
    )


def can_lift(weight: Int8s, bias: Int32s, scale: Float32s) -> bool:
    """Whether sums of a matrix (out, in) may start 2^23 higher, so that their bits are those of a float.

    A sum from 0 to 2^23 is then exact, a negative one stays negative, and one above grows; that must be one
    that is cut to 255 anyway. The bits may not leave the positive floats, nor their products 32 bits.
    """
    wide, offsets = UINT8_MAX * weight.astype(np.int64), bias.astype(np.int64)
    low, high = offsets + np.minimum(wide, 0).sum(1), offsets + np.maximum(wide, 0).sum(1)
    if (low <= -LIFT_BITS).any() or (high > INT32_MAX - LIFT_BITS).any() or (scale < 0).any():
        return False
    lifted = (high + LIFT_BITS).clip(0).astype(np.int32).view(np.float32).astype(np.float64)
    steps = scale.astype(np.float64)
    fits = (high <= LIFT) | (LIFT * steps > UINT8_MAX + 1)
    return bool(fits.all() and (lifted * steps < INT32_MAX).all())


def falls_low(weight: Int8s, bias: Int32s, scale: Float32s) -> bool:
    """Whether a sum of a matrix (out, in) can stand for less than -2^22 steps of the output.

    Above that, adding 1.5 · 2^23 to the product in float32 leaves the nearest whole number in the low bits.
    """
    wide, steps = UINT8_MAX * weight.astype(np.int64), scale.astype(np.float64)
    ends = [bias.astype(np.int64) + end.sum(1) for end in (np.minimum(wide, 0), np.maximum(wide, 0))]
    return bool(min((end * steps).min() for end in ends) < LOWEST_STEPS)


def _packed(
    weights: Int8s, lanes: NDArray[np.int64], bias: Int32s, scale: Float32s, rows: Int8s
) -> PackedLayer:
    def in_lanes(values: NDArray[Any]) -> NDArray[Any]:
        padded = np.zeros(len(rows), values.dtype)
        padded[: len(values)] = values
        return padded[lanes]

    sums = rows.astype(np.int32).sum(1, dtype=np.int32)[: len(bias)]
    return PackedLayer(
        weights=np.ascontiguousarray(weights).reshape(-1),
        bias=in_lanes(bias.astype(np.int32)).astype(np.int32),
        signed_bias=in_lanes(bias.astype(np.int32) + 128 * sums).astype(np.int32),
        scale=in_lanes(scale.astype(np.float32)).astype(np.float32),
    )
