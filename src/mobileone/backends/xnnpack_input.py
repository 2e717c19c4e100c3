"""The image and the first convolution as XNNPACK wants them: what int8 LiteRT and ExecuTorch share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.fused_layers import ConvLayer
from mobileone.backends.quantized_network import UINT8_OFFSET, QuantizedNetwork
from mobileone.variants import Pair

Margins = tuple[Pair, Pair]
"""Rows (above, below) and columns (left, right) around an image."""


def bordered_outside(quantized: QuantizedNetwork) -> tuple[QuantizedNetwork, tuple[int, int, int], Margins]:
    """The network with the padding of its first convolution, which is of a colour, left to the writer.

    Returns:
        The network, its first convolution without padding; the shape (H, W, C) in which that reads the image,
        pairs of columns where they can be read; and the border to put around it.
    """
    first, *others = quantized.layers.convs
    spec, channels = quantized.layers.input_spec, first.in_channels
    above, beside = first.padding
    shape, margins = (spec.height, spec.width, channels), ((above, above), (beside, beside))
    if reads_pairs(first, spec.width):
        quantized = paired_columns(quantized)
        shape, margins = (spec.height, spec.width // 2, 2 * channels), ((1, 0), (1, 0))
    first, *others = quantized.layers.convs
    convs = (replace(first, padding=(0, 0)), *others)
    return replace(quantized, layers=replace(quantized.layers, convs=convs)), shape, margins


def border_strips(
    colour: NDArray[np.uint8], shape: tuple[int, ...], margins: Margins
) -> Iterator[tuple[int, NDArray[np.int8], NDArray[np.int8]]]:
    """What to concatenate to an image (N, H, W, C) along an axis, before it and behind it; both may be empty.

    Padding operators know one value for all channels.
    """
    values = (colour.astype(np.int16) - UINT8_OFFSET).astype(np.int8)
    sizes = list(shape)
    for axis, margin in enumerate(margins, start=1):
        if any(margin):
            before, behind = (
                np.tile(values, [*sizes[:axis], amount, *sizes[axis + 1 : 3], 1]) for amount in margin
            )
            yield axis, before, behind
        sizes[axis] += sum(margin)


def reads_pairs(conv: ConvLayer, width: int) -> bool:
    """Whether `paired_columns` holds: a 3×3 kernel, stride 2, padding 1, on an even number of columns."""
    shape = (conv.weight.shape[2:], conv.stride, conv.padding, conv.dilation, conv.groups)
    return shape == ((3, 3), (2, 2), (1, 1), (1, 1), 1) and width % 2 == 0


def paired_columns(quantized: QuantizedNetwork) -> QuantizedNetwork:
    """The same network, its first convolution reading two neighbouring pixels as one of twice the channels.

    An image (H, W, 3) is (H, W/2, 6) without moving a byte, and a 3×3 kernel of stride 2 is then a 3×2 kernel
    of stride (2, 1): its left column is the right half of one pair. XNNPACK pads channels to eight, so 6
    waste less than 3.
    """
    first, *others = quantized.layers.convs
    weight = quantized.weights[first.name]
    paired = replace(first, weight=_pair(first.weight), stride=(2, 1))
    return replace(
        quantized,
        layers=replace(quantized.layers, convs=(paired, *others)),
        weights={**quantized.weights, first.name: replace(weight, values=_pair(weight.values))},
        border=np.tile(quantized.border, 2),
    )


def _pair(kernel: NDArray[Any]) -> NDArray[Any]:
    """(O, C, 3, 3) to (O, 2C, 3, 2): columns −1, 0, 1 of the centre's pixel as the pairs (−2, −1), (0, 1)."""
    left, centre, right = (kernel[..., column] for column in range(3))
    before = np.concatenate([np.zeros_like(left), left], axis=1)
    here = np.concatenate([centre, right], axis=1)
    return np.stack([before, here], axis=-1)
