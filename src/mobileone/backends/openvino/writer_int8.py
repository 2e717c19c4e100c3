"""Write int8 OpenVINO graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.export_options import INPUT_NAME, OUTPUT_NAME
from mobileone.backends.fused_layers import PIXEL_MAX, AttentionLayer, ConvLayer, LinearLayer
from mobileone.backends.quantized_network import (
    GATE,
    INT8_MAX,
    INT8_MIN,
    Int8Encoding,
    QuantizedNetwork,
    QuantizedWeight,
)
from mobileone.backends.table import BACKENDS, require

LEVELS = 256


def check() -> None:
    """OpenVINO both writes and runs it."""
    require("openvino", BACKENDS["openvino"])


def write_int8(quantized: QuantizedNetwork, path: Path, *, batch: int) -> Sequence[Path]:
    """The graph, and the weights beside it."""
    ov = require("openvino", BACKENDS["openvino"])
    ov.save_model(openvino_int8_model(quantized, batch=batch), str(path), compress_to_fp16=False)
    return [path, path.with_suffix(".bin")]


def versions() -> Mapping[str, str]:
    """OpenVINO, which builds the graph."""
    return {"openvino": version("openvino")}


def openvino_int8_model(quantized: QuantizedNetwork, *, batch: int | None = 1) -> Any:
    """An int8 `openvino.Model`: uint8 pixels, channels last, to float32 logits (N, classes).

    Roundings are FakeQuantize operators, which the CPU plugin makes part of the convolutions. The bytes pass
    one too: it changes nothing, costs nothing and is what lets the plugin run the first convolution in int8,
    where dequantised bytes would run in float32, in a third of the whole network's time. It also shifts each
    channel by its mean colour, an integer, so that the zeros of the padding stand for it.

    Args:
        quantized: the network.
        batch: images at a time, N; None takes any number.

    Raises:
        MissingExtraError: without OpenVINO.
    """
    ov = require("openvino", BACKENDS["openvino"])
    writer = _Writer(quantized)
    spec, layers, op = quantized.layers.input_spec, quantized.layers, writer.op
    shape = ov.PartialShape([-1 if batch is None else batch, spec.height, spec.width, spec.in_chans])
    images = op.parameter(shape, ov.Type.u8, name=INPUT_NAME)
    planes = op.transpose(images, op.constant(np.array([0, 3, 1, 2])))  # (N, H, W, C) → (N, C, H, W)
    colour = quantized.border.astype(np.float32).reshape(1, -1, 1, 1) / PIXEL_MAX
    zero, white = np.float32(0), np.float32(PIXEL_MAX)
    x = writer.rounded(op.convert(planes, "f32"), (zero, white), (-colour, 1 - colour))
    source, outputs = quantized.activations["image"], dict[str, Any]()
    for index, conv in enumerate(layers.convs):
        x, source = writer.conv(x, conv, source, quantized.border if index == 0 else None)
        if conv.name in layers.features:
            gain = op.constant(quantized.gains[conv.name].reshape(1, -1, 1, 1))
            outputs[layers.features[conv.name]] = op.multiply(x, gain)
    if not outputs:
        outputs[OUTPUT_NAME] = writer.head(x)
    model = ov.Model([op.result(each) for each in outputs.values()], [images], "mobileone_int8")
    model.inputs[0].set_names({INPUT_NAME})
    for output, name in zip(model.outputs, outputs, strict=True):
        output.set_names({name})
    return model


class _Writer:
    """Layers as OpenVINO operators."""

    def __init__(self, quantized: QuantizedNetwork) -> None:
        self.quantized = quantized
        self.op: Any = require("openvino.opset13", BACKENDS["openvino"])

    def rounded(self, x: Any, values: tuple[Any, Any], become: tuple[Any, Any]) -> Any:
        """x cut to the first range, in 256 levels, moved to the second."""
        ends = (self.op.constant(np.asarray(end, np.float32)) for end in (*values, *become))
        return self.op.fake_quantize(x, *ends, levels=LEVELS)

    def within(self, x: Any, encoding: Int8Encoding) -> Any:
        """x rounded to what eight bits hold."""
        low, high = (encoding.step * (end - encoding.zero_point) for end in (INT8_MIN, INT8_MAX))
        return self.rounded(x, (low, high), (low, high))

    def conv(
        self, x: Any, conv: ConvLayer, source: Int8Encoding, border: NDArray[np.uint8] | None
    ) -> tuple[Any, Int8Encoding]:
        """Convolution, attention, and the rounding that is the ReLU; and how its output is read."""
        weight, activations = self.quantized.weights[conv.name], self.quantized.activations
        assert weight.bias is not None
        bias = weight.bias.astype(np.float64)
        if border is not None:  # the input is less by this, so its share of the sums is missing
            bias += (weight.values.astype(np.int64) * border.astype(np.int64)[None, :, None, None]).sum(
                (1, 2, 3)
            )
        shift = (bias * source.step * weight.scale).astype(np.float32).reshape(1, -1, 1, 1)
        geometry = (conv.stride, conv.padding, conv.padding, conv.dilation)
        if conv.groups == 1:
            total = self.op.convolution(x, self.weights(weight, conv.weight.shape), *geometry)
        else:
            out, inside, *kernel = conv.weight.shape
            shape = (conv.groups, out // conv.groups, inside, *kernel)
            total = self.op.group_convolution(x, self.weights(weight, shape), *geometry)
        total = self.op.add(total, self.op.constant(shift))
        encoding = activations[conv.name]
        output = self.within(total, encoding)
        if conv.attention is None:
            return output, encoding
        attended = activations[f"{conv.name}.attn"]
        return self.within(self.attend(output, conv.attention, encoding), attended), attended

    def weights(self, weight: QuantizedWeight, shape: tuple[int, ...]) -> Any:
        """int8 weights as reals, in that shape."""
        values = self.op.convert(self.op.constant(weight.values.reshape(shape)), "f32")
        per_row = (
            *shape[: 2 if len(shape) == 5 else 1],
            *(1,) * (len(shape) - (2 if len(shape) == 5 else 1)),
        )
        return self.op.multiply(values, self.op.constant(weight.scale.reshape(per_row)))

    def average(self, x: Any) -> Any:
        """(N, C, H, W) to (N, C, 1, 1)."""
        return self.op.reduce_mean(x, self.op.constant(np.array([2, 3])), True)

    def attend(self, x: Any, attention: AttentionLayer, encoding: Int8Encoding) -> Any:
        """x times its channels' gates."""
        op = self.op
        average = self.within(self.average(x), encoding)
        inner = op.relu(
            self.linear(op.reshape(average, op.constant(np.array([0, -1])), True), attention.reduce)
        )
        gate = self.within(op.sigmoid(self.linear(inner, attention.expand)), GATE)
        shape = op.constant(np.array([0, -1, 1, 1]))
        return op.multiply(x, op.reshape(gate, shape, True))

    def head(self, x: Any) -> Any:
        """The average, rounded, and the classifier where there is one."""
        x = self.within(self.average(x), self.quantized.activations["pooled"])
        x = self.op.reshape(x, self.op.constant(np.array([0, -1])), True)
        classifier = self.quantized.layers.classifier
        return x if classifier is None else self.linear(x, classifier)

    def linear(self, x: Any, linear: LinearLayer) -> Any:
        """(N, in) to (N, out), float; int8 weights where there are."""
        weight = self.quantized.weights.get(linear.name)
        if weight is None:
            matrix = self.op.constant(linear.weight)
        else:
            matrix = self.weights(weight, linear.weight.shape)
        product = self.op.matmul(x, matrix, False, True)
        return self.op.add(product, self.op.constant(linear.bias.reshape(1, -1)))
