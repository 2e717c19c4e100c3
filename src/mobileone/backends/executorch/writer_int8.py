"""Write int8 .pte files for ExecuTorch's XNNPACK backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mobileone.backends.executorch.writer import program
from mobileone.backends.fused_layers import AttentionLayer, ConvLayer, LinearLayer
from mobileone.backends.quantized_network import (
    GATE,
    INT8_MAX,
    INT8_MIN,
    Int8Encoding,
    QuantizedNetwork,
    QuantizedWeight,
)
from mobileone.backends.quiet import quiet
from mobileone.backends.table import BACKENDS, require
from mobileone.backends.xnnpack_input import border_strips, bordered_outside
from mobileone.backends.xnnpack_scales import with_xnnpack_scales

BYTES = Int8Encoding((1.0,), INT8_MIN)  # the image before the first convolution's weights divide it by 255
INT8 = (INT8_MIN, INT8_MAX, torch.int8)
SMALLEST_STEP = 1e-30  # of an average that is zero in every channel


def check() -> None:
    """ExecuTorch lowers the network; importing it also registers the roundings."""
    with quiet():
        require("executorch.exir", BACKENDS["executorch"])


def write_int8(quantized: QuantizedNetwork, path: Path, *, batch: int) -> Sequence[Path]:
    """One file, weights inside."""
    path.write_bytes(executorch_int8_model(with_xnnpack_scales(quantized, format="executorch"), batch=batch))
    return [path]


def versions() -> Mapping[str, str]:
    """ExecuTorch, which lowers the network."""
    return {"executorch": version("executorch")}


def executorch_int8_model(quantized: QuantizedNetwork, *, batch: int = 1) -> bytes:
    """An int8 .pte file: uint8 pixels, channels last, to float32 logits (N, classes).

    The network is written as reals between roundings to int8, which XNNPACK's partitioner makes one delegate
    of integer operators. The bytes become floats before it, because it takes no bytes, and int8 inside. The
    average behind the last convolution is float; the classifier reads that in eight bits, with a scale that
    the runtime takes from each image, and gives float.

    Args:
        quantized: the network.
        batch: images at a time, N.

    Raises:
        MissingExtraError: without ExecuTorch.
    """
    require("executorch.exir", BACKENDS["executorch"])  # also registers the roundings
    spec = quantized.layers.input_spec
    images = torch.zeros(batch, spec.height, spec.width, spec.in_chans, dtype=torch.uint8)
    with torch.no_grad():
        return program(Int8Network(quantized, batch=batch).eval(), images)


class Int8Network(nn.Module):
    """uint8 pixels (N, H, W, C) to logits (N, classes), or to feature maps (N, C, H, W).

    XNNPACK's partitioner fuses an operator that stands between dequantise and quantise operators of its own.

    Args:
        quantized: the network.
        batch: images at a time, N.
    """

    def __init__(self, quantized: QuantizedNetwork, *, batch: int) -> None:
        super().__init__()
        quantized, read, margins = bordered_outside(quantized)
        self.shape = (batch, *read)
        strips = border_strips(quantized.border, self.shape, margins)
        self.borders = nn.ModuleList(Border(axis, before, behind) for axis, before, behind in strips)
        source, image = BYTES, quantized.activations["image"]
        self.convs = nn.ModuleList()
        self.gains: dict[int, tuple[Tensor, Int8Encoding]] = {}  # by the place behind which a map is given
        for conv in quantized.layers.convs:
            weight, activations = quantized.weights[conv.name], quantized.activations
            if not self.convs:
                weight = replace(weight, scale=np.float32(image.step) * weight.scale)
            self.convs.append(Int8Conv(conv, weight, source, activations[conv.name]))
            source = activations[conv.name]
            if conv.attention is not None:
                self.convs.append(Int8Attention(conv.attention, source, activations[f"{conv.name}.attn"]))
                source = activations[f"{conv.name}.attn"]
            if conv.name in quantized.layers.features:
                gain = torch.from_numpy(quantized.gains[conv.name]).view(1, -1, 1, 1)
                self.gains[len(self.convs) - 1] = gain, source
        self.source = source
        linear = quantized.layers.classifier
        self.classifier = (
            nn.Identity() if linear is None else Int8Classifier(linear, quantized.weights[linear.name])
        )

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = quantize(images.view(self.shape).float(), BYTES)
        for border in self.borders:
            x = border(x)
        x = quantize(dequantize(x, BYTES).permute(0, 3, 1, 2), BYTES)  # (N, H, W, C) → (N, C, H, W)
        maps = []
        for place, conv in enumerate(self.convs):
            x = conv(x)
            if place in self.gains:
                gain, source = self.gains[place]
                maps.append(dequantize(x, source) * gain)
        if maps:
            return tuple(maps)
        average = dequantize(x, self.source).mean((2, 3), keepdim=True)  # XNNPACK takes no other form of it
        logits: Tensor = self.classifier(average.flatten(1))
        return logits


class Border(nn.Module):
    """int8 pixels inside strips of the colour that stands for zero."""

    before: Tensor | None
    behind: Tensor | None

    def __init__(self, axis: int, before: NDArray[np.int8], behind: NDArray[np.int8]) -> None:
        super().__init__()
        self.axis = axis
        for name, strip in (("before", before), ("behind", behind)):
            self.register_buffer(name, torch.from_numpy(strip) if strip.size else None)

    def forward(self, x: Tensor) -> Tensor:
        parts = [dequantize(part, BYTES) for part in (self.before, x, self.behind) if part is not None]
        return quantize(torch.cat(parts, self.axis), BYTES)


class Rows(nn.Module):
    """int8 weights with a scale for each output channel; called, they are reals."""

    def __init__(self, weight: QuantizedWeight) -> None:
        super().__init__()
        self.register_buffer("values", torch.tensor(weight.values))
        self.register_buffer("scale", torch.tensor(weight.scale))
        self.register_buffer("zero_point", torch.zeros(len(weight.scale), dtype=torch.int64))

    def forward(self) -> Tensor:
        rounding = torch.ops.quantized_decomposed.dequantize_per_channel.default
        weight: Tensor = rounding(self.values, self.scale, self.zero_point, 0, *INT8)
        return weight


class Int8Conv(nn.Module):
    """A convolution from int8 (N, C, H, W) to int8; the lower bound of its integers is the ReLU.

    The bias is written in float, of which XNNPACK's exporter makes the int32 that it was.
    """

    bias: Tensor

    def __init__(
        self, conv: ConvLayer, weight: QuantizedWeight, source: Int8Encoding, output: Int8Encoding
    ) -> None:
        super().__init__()
        assert weight.bias is not None
        self.geometry = conv.stride, conv.padding, conv.dilation, conv.groups
        self.source, self.output, self.weight = source, output, Rows(weight)
        unit = (np.float32(source.step) * weight.scale).astype(np.float64)
        self.register_buffer("bias", torch.from_numpy((weight.bias * unit).astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        return quantize(
            F.conv2d(dequantize(x, self.source), self.weight(), self.bias, *self.geometry), self.output
        )


class Int8Attention(nn.Module):
    """ReLU of int8 (N, C, H, W) times its channels' gates, which are computed in float."""

    def __init__(self, attention: AttentionLayer, source: Int8Encoding, output: Int8Encoding) -> None:
        super().__init__()
        self.source, self.output = source, output
        self.reduce, self.expand = pointwise(attention.reduce), pointwise(attention.expand)

    def forward(self, x: Tensor) -> Tensor:
        average = quantize(dequantize(x, self.source).mean((2, 3), keepdim=True), self.source)
        gate = self.expand(self.reduce(dequantize(average, self.source)).relu()).sigmoid()
        product = dequantize(x, self.source) * dequantize(quantize(gate, GATE), GATE)
        return quantize(product, self.output)


class Int8Classifier(nn.Module):
    """Averages (N, C), rounded to eight bits with a scale that is taken from them, to logits."""

    bias: Tensor

    def __init__(self, linear: LinearLayer, weight: QuantizedWeight) -> None:
        super().__init__()
        self.weight = Rows(weight)
        self.register_buffer("bias", torch.tensor(linear.bias))

    def forward(self, x: Tensor) -> Tensor:
        ops = torch.ops.quantized_decomposed
        # The pattern that XNNPACK knows. There each row has a scale of its own; here all rows have one.
        encoding = ops.choose_qparams.tensor(x, INT8_MIN, INT8_MAX, SMALLEST_STEP, torch.int8)
        integers = ops.quantize_per_tensor.tensor(x, *encoding, *INT8)
        return F.linear(
            ops.dequantize_per_tensor.tensor(integers, *encoding, *INT8), self.weight(), self.bias
        )


def quantize(x: Tensor, encoding: Int8Encoding) -> Tensor:
    """Reals as int8."""
    integers: Tensor = torch.ops.quantized_decomposed.quantize_per_tensor.default(
        x, encoding.step, encoding.zero_point, *INT8
    )
    return integers


def dequantize(x: Tensor, encoding: Int8Encoding) -> Tensor:
    """int8 as reals."""
    reals: Tensor = torch.ops.quantized_decomposed.dequantize_per_tensor.default(
        x, encoding.step, encoding.zero_point, *INT8
    )
    return reals


def pointwise(linear: LinearLayer) -> nn.Conv2d:
    """The same function of (N, C, 1, 1), in XNNPACK's layout."""
    conv = nn.Conv2d(linear.weight.shape[1], linear.weight.shape[0], 1)
    conv.weight.data = torch.tensor(linear.weight[:, :, None, None])
    conv.bias = nn.Parameter(torch.tensor(linear.bias))
    return conv
