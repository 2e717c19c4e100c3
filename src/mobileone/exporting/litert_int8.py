"""Write int8 .tflite files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileone.exporting.deployable import INPUT_NAME
from mobileone.exporting.flatbuffer import FlatBuffer, Tensor
from mobileone.exporting.layers import Conv
from mobileone.exporting.litert import LayerWriter
from mobileone.exporting.quantized import UINT8_OFFSET, Affine, Quantized
from mobileone.variants import Pair


def litert_int8_model(quantized: Quantized, *, batch: int = 1) -> bytes:
    """An int8 .tflite file: uint8 pixels, channels last, to float32 logits (N, classes).

    The bytes become int8 by way of float, inside XNNPACK: LiteRT's own operator from uint8 to int8 is outside
    of it and slower. From there to the last convolution everything is int8. The average behind it is float;
    the classifier reads that in eight bits, with a scale that the runtime takes from each image, and gives
    float: eight bits of logits would tie the likeliest classes.

    Args:
        quantized: the network.
        batch: images at a time, N.

    Raises:
        ConfigError: on grouped convolutions that are not depthwise.
        MissingExtraError: without LiteRT's runtime, which brings the schema.
    """
    graph = FlatBuffer()
    spec, affine = quantized.layers.input_spec, quantized.activations["image"]
    shape = (batch, spec.size, spec.size, spec.in_chans)
    images = graph.tensor(INPUT_NAME, shape, np.uint8, Affine(affine.scale, affine.zero_point + UINT8_OFFSET))
    pixels = graph.tensor("pixels", shape, np.float32)
    graph.operator("DEQUANTIZE", [images], pixels, options="DequantizeOptions")
    x = graph.operator("QUANTIZE", [pixels], graph.tensor("pixels.int8", shape, np.int8, affine))
    first = quantized.layers.convs[0]
    above, beside = first.padding
    margins = ((above, above), (beside, beside))
    if reads_pairs(first, spec.size):
        quantized = paired_columns(quantized)
        x = _reshaped(graph, x, (batch, spec.size, spec.size // 2, 2 * spec.in_chans))
        margins = ((1, 0), (1, 0))
    x = _bordered(graph, x, quantized.border, margins)
    first, *others = quantized.layers.convs
    writer = LayerWriter(graph, quantized)
    for conv in (replace(first, padding=(0, 0)), *others):
        x = writer.conv(x, conv)
    logits = writer.head(writer.dequantize(x, "features"), quantized.layers)
    return graph.pack([images], [logits], description="mobileone int8")


def reads_pairs(conv: Conv, size: int) -> bool:
    """Whether `paired_columns` holds: a 3×3 kernel, stride 2, padding 1, on an even number of columns."""
    shape = (conv.weight.shape[2:], conv.stride, conv.padding, conv.dilation, conv.groups)
    return shape == ((3, 3), (2, 2), (1, 1), (1, 1), 1) and size % 2 == 0


def paired_columns(quantized: Quantized) -> Quantized:
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


def _reshaped(graph: FlatBuffer, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    wanted = graph.constant("paired.shape", np.array(shape, dtype=np.int32))
    return graph.operator("RESHAPE", [x, wanted], graph.tensor("paired", shape, np.int8, x.affine))


def _bordered(graph: FlatBuffer, x: Tensor, border: NDArray[np.uint8], margins: tuple[Pair, Pair]) -> Tensor:
    """x (N, H, W, C) inside rows (before, after) and columns (before, after) of the border's colour.

    A padding operator knows one value for all channels.
    """
    colour = (border.astype(np.int16) - UINT8_OFFSET).astype(np.int8)
    for axis, margin in enumerate(margins, start=1):
        parts, shape = [x], list(x.shape)
        for where, amount in zip((0, len(parts) + 1), margin, strict=True):
            if amount:
                strip = [*x.shape[:axis], amount, *x.shape[axis + 1 : 3], 1]
                parts.insert(
                    where, graph.constant(f"border.{axis}.{where}", np.tile(colour, strip), x.affine)
                )
                shape[axis] += amount
        wider = graph.tensor(f"bordered.{axis}", shape, np.int8, x.affine)
        x = graph.operator("CONCATENATION", parts, wider, options="ConcatenationOptions", axis=axis)
    return x
