"""Write int8 .tflite files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.export_options import INPUT_NAME
from mobileone.backends.litert.flatbuffer import FlatBuffer, GraphTensor
from mobileone.backends.litert.writer import LayerWriter
from mobileone.backends.quantized_network import UINT8_OFFSET, Int8Encoding, QuantizedNetwork
from mobileone.backends.table import BACKENDS, require
from mobileone.backends.xnnpack_input import Margins, border_strips, bordered_outside
from mobileone.backends.xnnpack_scales import with_xnnpack_scales


def check() -> None:
    """LiteRT's runtime brings the schema and proves the file."""
    require("ai_edge_litert", BACKENDS["litert"])


def write_int8(quantized: QuantizedNetwork, path: Path, *, batch: int) -> Sequence[Path]:
    """One file, weights inside."""
    path.write_bytes(litert_int8_model(with_xnnpack_scales(quantized, format="litert"), batch=batch))
    return [path]


def versions() -> Mapping[str, str]:
    """LiteRT, whose schema is written."""
    return {"ai-edge-litert": version("ai-edge-litert")}


def litert_int8_model(quantized: QuantizedNetwork, *, batch: int = 1) -> bytes:
    """An int8 .tflite file: uint8 pixels, channels last, to float32 logits (N, classes), or feature
    maps (N, H, W, C).

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
    spec, encoding = quantized.layers.input_spec, quantized.activations["image"]
    shape = (batch, spec.height, spec.width, spec.in_chans)
    images = graph.tensor(
        INPUT_NAME, shape, np.uint8, Int8Encoding(encoding.scale, encoding.zero_point + UINT8_OFFSET)
    )
    pixels = graph.tensor("pixels", shape, np.float32)
    graph.operator("DEQUANTIZE", [images], pixels, options="DequantizeOptions")
    x = graph.operator("QUANTIZE", [pixels], graph.tensor("pixels.int8", shape, np.int8, encoding))
    quantized, read, margins = bordered_outside(quantized)
    if read != shape[1:]:
        x = _reshaped(graph, x, (batch, *read))
    x = _bordered(graph, x, quantized.border, margins)
    writer = LayerWriter(graph, quantized)
    features: dict[str, GraphTensor] = {}
    for conv in quantized.layers.convs:
        x = writer.conv(x, conv)
        if conv.name in quantized.layers.features:
            name = quantized.layers.features[conv.name]
            real = writer.dequantize(x, name)
            gain = graph.constant(f"{name}.gain", quantized.gains[conv.name].reshape(1, 1, 1, -1))
            output = graph.tensor(name, x.shape, np.float32)
            features[name] = graph.operator("MUL", [real, gain], output, options="MulOptions")
    outputs = features or [writer.head(writer.dequantize(x, "features"), quantized.layers)]
    return graph.pack([images], outputs, description="mobileone int8")


def _reshaped(graph: FlatBuffer, x: GraphTensor, shape: tuple[int, ...]) -> GraphTensor:
    wanted = graph.constant("paired.shape", np.array(shape, dtype=np.int32))
    return graph.operator("RESHAPE", [x, wanted], graph.tensor("paired", shape, np.int8, x.encoding))


def _bordered(graph: FlatBuffer, x: GraphTensor, border: NDArray[np.uint8], margins: Margins) -> GraphTensor:
    """x (N, H, W, C) inside rows (before, after) and columns (before, after) of the border's colour."""
    for axis, before, behind in border_strips(border, x.shape, margins):
        edges = [
            [graph.constant(f"border.{axis}.{where}", strip, x.encoding)] if strip.size else []
            for where, strip in enumerate((before, behind))
        ]
        shape = list(x.shape)
        shape[axis] += before.shape[axis] + behind.shape[axis]
        wider = graph.tensor(f"bordered.{axis}", shape, np.int8, x.encoding)
        parts = [*edges[0], x, *edges[1]]
        x = graph.operator("CONCATENATION", parts, wider, options="ConcatenationOptions", axis=axis)
    return x
