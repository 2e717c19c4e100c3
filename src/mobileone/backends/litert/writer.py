"""Write LiteRT's .tflite files, in float32 or int8, without its converter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.export_options import INPUT_NAME, OUTPUT_NAME, ExportOptions, tensor_spec
from mobileone.backends.fused_layers import (
    PIXEL_MAX,
    AttentionLayer,
    ConvLayer,
    Floats,
    FusedLayers,
    LinearLayer,
    layers_of,
)
from mobileone.backends.litert.flatbuffer import FlatBuffer, GraphTensor, schema
from mobileone.backends.manifest import TensorSpec
from mobileone.backends.quantized_network import GATE, Int8Encoding, QuantizedNetwork
from mobileone.backends.table import BACKENDS, require
from mobileone.errors import ConfigError
from mobileone.model.features import Network


def check(options: ExportOptions) -> None:
    """LiteRT holds every option; `half` stores the weights as float16 and computes in float32."""
    require("ai_edge_litert", BACKENDS["litert"])


def tensor(model: Network, options: ExportOptions) -> TensorSpec:
    """Channels last, as LiteRT computes; raw pixels are bytes."""
    return tensor_spec(model, options, layout="NHWC", uint8=True)


def write(model: Network, path: Path, options: ExportOptions) -> Sequence[Path]:
    """One file, weights inside."""
    path.write_bytes(litert_model(layers_of(model), options))
    return [path]


def versions() -> Mapping[str, str]:
    """LiteRT, whose schema is written."""
    return {"ai-edge-litert": version("ai-edge-litert")}


def litert_model(layers: FusedLayers, options: ExportOptions) -> bytes:
    """A float32 .tflite file: images, channels last, to logits (N, classes) or feature maps (N, H, W, C).

    Every ReLU is part of its convolution. PyTorch pads on both sides, TFLite's "SAME" below and to the right
    when the stride is 2, so padding is an operator of its own, which XNNPACK merges into the convolution.

    Args:
        layers: the network; square inputs of its input spec's size.
        options: with `raw_input` the mean is subtracted before the padding, so that a padded zero stands for
            the mean colour as it does in PyTorch, and the division is part of the first convolution.

    Raises:
        ConfigError: on grouped convolutions that are not depthwise.
        MissingExtraError: without LiteRT's runtime, which brings the schema.
    """
    graph = FlatBuffer(dynamic_batch=options.batch is None)
    writer = LayerWriter(graph, half=options.half)
    spec = layers.input_spec
    shape = (options.batch or 1, spec.height, spec.width, spec.in_chans)
    first, *others = layers.convs
    if options.raw_input:
        images = graph.tensor(INPUT_NAME, shape, np.uint8, Int8Encoding((1.0,)))
        x = writer.centred_pixels(images, spec.mean)
        std = np.float32(PIXEL_MAX) * np.asarray(spec.std, np.float32)
        first = replace(first, weight=first.weight / std[None, :, None, None])
    else:
        images = x = graph.tensor(INPUT_NAME, shape, np.float32)
    features: dict[str, GraphTensor] = {}
    for conv in (first, *others):
        x = writer.conv(x, conv)
        if conv.name in layers.features:
            features[layers.features[conv.name]] = x
    return graph.pack([images], features or [writer.head(x, layers)], description="mobileone")


class LayerWriter:
    """Layers, each appended to a graph; in int8 where `quantized` has integers for them."""

    def __init__(
        self, graph: FlatBuffer, quantized: QuantizedNetwork | None = None, *, half: bool = False
    ) -> None:
        self.graph = graph
        self.quantized = quantized
        self.half = half
        self.relu = schema().ActivationFunctionType.RELU

    def output(self, name: str, shape: Sequence[int]) -> GraphTensor:
        """A computed tensor, in int8 where there is a scale for that name."""
        encoding = self.quantized.activations.get(name) if self.quantized else None
        return self.graph.tensor(name, shape, np.float32 if encoding is None else np.int8, encoding)

    def weights(
        self, part: ConvLayer | LinearLayer, x: GraphTensor, *, layout: tuple[int, ...], dim: int
    ) -> list[GraphTensor]:
        """Weight, its axes in that order with the output channels at `dim`, and bias."""
        integers = self.quantized.weights.get(part.name) if self.quantized else None
        name = f"{part.name}.weight"
        if integers is None:
            weight = self.floats(name, part.weight.transpose(layout))
        else:
            encoding = Int8Encoding(tuple(integers.scale.tolist()), 0, dim)
            weight = self.graph.constant(name, integers.values.transpose(layout), encoding)
        if integers is None or integers.bias is None:
            return [weight, self.floats(f"{part.name}.bias", part.bias)]
        assert x.encoding is not None
        scale = Int8Encoding(tuple((np.float32(x.encoding.step) * integers.scale).tolist()))
        return [weight, self.graph.constant(f"{part.name}.bias", integers.bias, scale)]

    def floats(self, name: str, values: Floats) -> GraphTensor:
        """A constant; stored as float16 with `half`, and widened when the file is loaded."""
        if not self.half:
            return self.graph.constant(name, values)
        stored = self.graph.constant(f"{name}.half", values.astype(np.float16))
        widened = self.graph.computed_constant(name, values.shape, np.float32)
        return self.graph.operator("DEQUANTIZE", [stored], widened, options="DequantizeOptions")

    def centred_pixels(self, image: GraphTensor, mean: Sequence[float]) -> GraphTensor:
        """uint8 pixels minus the mean colour, as float32 in units of a pixel's step."""
        graph = self.graph
        pixels = graph.tensor("pixels", image.shape, np.float32)
        graph.operator("DEQUANTIZE", [image], pixels, options="DequantizeOptions")
        # One colour a column, not one for all: XNNPACK broadcasts over rows of 3 values 50,000 times else.
        columns = np.tile(np.float32(PIXEL_MAX) * np.asarray(mean, np.float32), (1, 1, image.shape[2], 1))
        colour = graph.constant("mean", columns)
        centred = graph.tensor("centred", image.shape, np.float32)
        return graph.operator("SUB", [pixels, colour], centred, options="SubOptions")

    def conv(self, x: GraphTensor, conv: ConvLayer) -> GraphTensor:
        """Padding, convolution, attention, ReLU."""
        size = conv.output_size((x.shape[1], x.shape[2]))
        x = self.pad(x, conv)
        output = self.output(conv.name, (x.shape[0], *size, conv.out_channels))
        fields = {
            "padding": schema().Padding.VALID,
            "strideH": conv.stride[0],
            "strideW": conv.stride[1],
            "dilationHFactor": conv.dilation[0],
            "dilationWFactor": conv.dilation[1],
            "fusedActivationFunction": 0 if conv.attention else self.relu,
        }
        if conv.is_depthwise:
            weights = self.weights(conv, x, layout=(1, 2, 3, 0), dim=3)  # (C, 1, kh, kw) → (1, kh, kw, C)
            self.graph.operator(
                "DEPTHWISE_CONV_2D",
                [x, *weights],
                output,
                options="DepthwiseConv2DOptions",
                depthMultiplier=1,
                **fields,
            )
        elif conv.groups == 1:
            weights = self.weights(conv, x, layout=(0, 2, 3, 1), dim=0)  # (O, I, kh, kw) → (O, kh, kw, I)
            self.graph.operator("CONV_2D", [x, *weights], output, options="Conv2DOptions", **fields)
        else:
            raise ConfigError(f"{conv.name}: LiteRT takes groups of 1 or of all channels, got {conv.groups}")
        return output if conv.attention is None else self.attend(output, conv.name, conv.attention)

    def pad(self, x: GraphTensor, conv: ConvLayer) -> GraphTensor:
        """The convolution's zeros around height and width."""
        if conv.padding == (0, 0):
            return x
        (above, beside), (n, height, width, channels) = conv.padding, x.shape
        amounts: NDArray[np.int32] = np.array(
            [[0, 0], [above, above], [beside, beside], [0, 0]], dtype=np.int32
        )
        padding = self.graph.constant(f"{conv.name}.padding", amounts)
        dtype = np.float32 if x.encoding is None else np.int8
        shape = (n, height + 2 * above, width + 2 * beside, channels)
        padded = self.graph.tensor(f"{conv.name}.padded", shape, dtype, x.encoding)
        return self.graph.operator("PAD", [x, padding], padded, options="PadOptions")

    def attend(self, x: GraphTensor, name: str, attention: AttentionLayer) -> GraphTensor:
        """ReLU of x times its channels' gates, which are computed in float."""
        graph, average = self.graph, f"{name}.attn.mean"
        pooled = self.mean(x, average, keep_dims=True)
        gate = self.linear(
            self.linear(self.dequantize(pooled, average), attention.reduce, relu=True), attention.expand
        )
        gate = graph.operator("LOGISTIC", [gate], graph.tensor(f"{name}.attn.gate", gate.shape, np.float32))
        if x.encoding is not None:
            rounded = graph.tensor(f"{name}.attn.gate.int8", gate.shape, np.int8, GATE)
            gate = graph.operator("QUANTIZE", [gate], rounded)
        output = self.output(f"{name}.attn", x.shape)
        return graph.operator(
            "MUL", [x, gate], output, options="MulOptions", fusedActivationFunction=self.relu
        )

    def dequantize(self, x: GraphTensor, name: str) -> GraphTensor:
        """x as float32, if it is not yet."""
        if x.encoding is None:
            return x
        real = self.graph.tensor(f"{name}.real", x.shape, np.float32)
        return self.graph.operator("DEQUANTIZE", [x], real, options="DequantizeOptions")

    def head(self, x: GraphTensor, layers: FusedLayers) -> GraphTensor:
        """The average, and the classifier where there is one."""
        if layers.classifier is None:
            return self.mean(x, OUTPUT_NAME)
        return self.linear(self.mean(x, "pooled"), layers.classifier, name=OUTPUT_NAME)

    def mean(self, x: GraphTensor, name: str, *, keep_dims: bool = False) -> GraphTensor:
        """(N, H, W, C) to (N, C), or (N, 1, 1, C)."""
        axes = self.graph.constant(f"{name}.axes", np.array([1, 2], dtype=np.int32))
        shape = (x.shape[0], 1, 1, x.shape[3]) if keep_dims else (x.shape[0], x.shape[3])
        output = self.graph.tensor(name, shape, np.float32 if x.encoding is None else np.int8, x.encoding)
        return self.graph.operator("MEAN", [x, axes], output, options="ReducerOptions", keepDims=keep_dims)

    def linear(
        self, x: GraphTensor, linear: LinearLayer, *, relu: bool = False, name: str = ""
    ) -> GraphTensor:
        """(N, ..., in) to (N, ..., out)."""
        weights = self.weights(linear, x, layout=(0, 1), dim=0)
        output = self.output(name or linear.name, (*x.shape[:-1], len(linear.bias)))
        return self.graph.operator(
            "FULLY_CONNECTED",
            [x, *weights],
            output,
            options="FullyConnectedOptions",
            fusedActivationFunction=self.relu if relu else 0,
            keepNumDims=len(x.shape) > 2,
        )
