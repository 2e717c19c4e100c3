"""Write int8 .onnx files: QuantizeLinear and DequantizeLinear in the patterns that runtimes fuse whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.export_options import INPUT_NAME, OUTPUT_NAME
from mobileone.backends.fused_layers import AttentionLayer, ConvLayer, LinearLayer
from mobileone.backends.quantized_network import GATE, UINT8_OFFSET, Int8Encoding, QuantizedNetwork
from mobileone.backends.table import BACKENDS, require

OPSET, IR_VERSION = 19, 9


def check() -> None:
    """ONNX writes the file and ONNX Runtime proves it."""
    for package in ("onnx", "onnxruntime"):
        require(package, BACKENDS["onnx"])


def write_int8(quantized: QuantizedNetwork, path: Path, *, batch: int) -> Sequence[Path]:
    """One file, weights inside."""
    path.write_bytes(onnx_int8_model(quantized, batch=batch))
    return [path]


def versions() -> Mapping[str, str]:
    """ONNX, which builds and checks the graph."""
    return {"onnx": version("onnx")}


def onnx_int8_model(quantized: QuantizedNetwork, *, batch: int | None = 1) -> bytes:
    """An int8 .onnx file: uint8 pixels, channels last, to float32 logits (N, classes), or feature
    maps (N, C, H, W).

    Activations are uint8, for which processors have dot products with int8 weights, and start at zero, so
    that rounding to them is the ReLU. Every convolution stands between one DequantizeLinear and one
    QuantizeLinear, with int32 biases, which ONNX Runtime makes one QLinearConv. The classifier's weights are
    int8 in the layout (in, out) of a matrix product, which it does not widen to float in memory.

    Args:
        quantized: the network.
        batch: images at a time, N; None takes any number.

    Raises:
        MissingExtraError: without onnx.
    """
    onnx = require("onnx", BACKENDS["onnx"])
    writer = _Writer(quantized)
    spec, layers = quantized.layers.input_spec, quantized.layers
    n = "N" if batch is None else batch
    x = writer.bordered(INPUT_NAME, n)
    x = writer.node("Transpose", [x], "planes", perm=[0, 3, 1, 2])  # (N, H, W, C) → (N, C, H, W)
    x = writer.dequantize(x, "image", quantized.activations["image"])
    size, outputs = (spec.height, spec.width), dict[str, list[int | str]]()
    for index, conv in enumerate(layers.convs):
        x = writer.conv(x, conv, padding=(0, 0) if index == 0 else conv.padding)
        size = conv.output_size(size)
        if conv.name in layers.features:
            name = layers.features[conv.name]
            gain = writer.constant(f"{name}.gain", quantized.gains[conv.name].reshape(1, -1, 1, 1))
            writer.node("Mul", [x, gain], name)
            outputs[name] = [n, conv.out_channels, *size]
    if not outputs:
        writer.head(x)
        outputs[OUTPUT_NAME] = [n, layers.num_outputs]
    helper, kinds = onnx.helper, onnx.TensorProto
    images = helper.make_tensor_value_info(
        INPUT_NAME, kinds.UINT8, [n, spec.height, spec.width, spec.in_chans]
    )
    given = [helper.make_tensor_value_info(name, kinds.FLOAT, shape) for name, shape in outputs.items()]
    graph = helper.make_graph(writer.nodes, "mobileone int8", [images], given, writer.constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="mobileone")
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


class _Writer:
    """Layers, each appended to a list of nodes; a value is known by its name."""

    def __init__(self, quantized: QuantizedNetwork) -> None:
        self.quantized = quantized
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._steps: dict[str, float] = {}

    def constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def bordered(self, images: str, batch: int | str) -> str:
        """The images inside the first convolution's padding, in the colour that stands for zero."""
        spec, (above, beside) = self.quantized.layers.input_spec, self.quantized.layers.convs[0].padding
        x = images
        for axis, amount, strip in (
            (1, above, (1, above, spec.width, 1)),
            (2, beside, (1, spec.height + 2 * above, beside, 1)),
        ):
            if not amount:
                continue
            edge = self.constant(f"border.{axis}", np.tile(self.quantized.border, strip))
            if batch != 1:
                edge = self._for_batch(edge, axis, batch, images)
            x = self.node("Concat", [edge, x, edge], f"bordered.{axis}", axis=axis)
        return x

    def _for_batch(self, edge: str, axis: int, batch: int | str, images: str) -> str:
        """The edge, once for each image."""
        ones = self.constant(f"border.{axis}.ones", np.ones(3, np.int64))
        if isinstance(batch, int):
            count = self.constant(f"border.{axis}.batch", np.array([batch], np.int64))
        else:
            count = self.node("Shape", [images], f"border.{axis}.batch", start=0, end=1)
        shape = self.node("Concat", [count, ones], f"border.{axis}.shape", axis=0)
        return self.node("Expand", [edge, shape], f"border.{axis}.all")

    def _encoding(self, name: str, encoding: Int8Encoding) -> list[str]:
        zero = np.array(encoding.zero_point + UINT8_OFFSET, np.uint8)
        return [
            self.constant(f"{name}.scale", np.array(encoding.step, np.float32)),
            self.constant(f"{name}.zero_point", zero),
        ]

    def dequantize(self, x: str, name: str, encoding: Int8Encoding) -> str:
        """uint8 as reals."""
        real = self.node("DequantizeLinear", [x, *self._encoding(name, encoding)], f"{name}.real")
        self._steps[real] = encoding.step
        return real

    def rounded(self, x: str, name: str, encoding: Int8Encoding) -> str:
        """Reals that uint8 can hold."""
        numbers = self._encoding(name, encoding)
        integers = self.node("QuantizeLinear", [x, *numbers], f"{name}.uint8")
        real = self.node("DequantizeLinear", [integers, *numbers], f"{name}.real")
        self._steps[real] = encoding.step
        return real

    def conv(self, x: str, conv: ConvLayer, *, padding: tuple[int, int]) -> str:
        """Convolution, attention, and the rounding that is the ReLU."""
        weight = self.quantized.weights[conv.name]
        assert weight.bias is not None
        units = np.float32(self._steps[x]) * weight.scale
        total = self.node(
            "Conv",
            [
                x,
                self._integers(f"{conv.name}.weight", weight.values, weight.scale, axis=0),
                self._integers(f"{conv.name}.bias", weight.bias, units, axis=0),
            ],
            f"{conv.name}.sum",
            kernel_shape=conv.weight.shape[2:],
            strides=conv.stride,
            pads=[*padding, *padding],
            dilations=conv.dilation,
            group=conv.groups,
        )
        output = self.rounded(total, conv.name, self.quantized.activations[conv.name])
        return output if conv.attention is None else self._attend(output, conv.name, conv.attention)

    def _integers(self, name: str, values: NDArray[Any], scale: NDArray[np.float32], *, axis: int) -> str:
        numbers = [
            self.constant(f"{name}.{values.dtype.name}", values),
            self.constant(f"{name}.scale", scale),
            self.constant(f"{name}.zero_point", np.zeros(len(scale), values.dtype)),
        ]
        return self.node("DequantizeLinear", numbers, name, axis=axis)

    def _attend(self, x: str, name: str, attention: AttentionLayer) -> str:
        activations, prefix = self.quantized.activations, f"{name}.attn"
        average = self.node("GlobalAveragePool", [x], f"{prefix}.average")
        average = self.rounded(average, f"{prefix}.mean", activations[name])
        inner = self.node("Flatten", [average], f"{prefix}.flat")
        inner = self.linear(inner, attention.reduce, f"{prefix}.reduced")
        inner = self.node("Relu", [inner], f"{prefix}.relu")
        gate = self.node(
            "Sigmoid", [self.linear(inner, attention.expand, f"{prefix}.expanded")], f"{prefix}.gate"
        )
        shape = self.constant(f"{prefix}.shape", np.array([0, -1, 1, 1], np.int64))
        gate = self.rounded(gate, f"{prefix}.rounded", GATE)
        gate = self.node("Reshape", [gate, shape], f"{prefix}.planes")
        product = self.node("Mul", [x, gate], f"{prefix}.product")
        return self.rounded(product, prefix, activations[prefix])

    def head(self, x: str) -> None:
        """The average, rounded, and the classifier where there is one."""
        x = self.node("GlobalAveragePool", [x], "average")
        x = self.rounded(x, "pooled", self.quantized.activations["pooled"])
        classifier = self.quantized.layers.classifier
        if classifier is None:
            self.node("Flatten", [x], OUTPUT_NAME)
        else:
            self.linear(self.node("Flatten", [x], "features"), classifier, OUTPUT_NAME)

    def linear(self, x: str, linear: LinearLayer, output: str) -> str:
        """(N, in) to (N, out), float; int8 weights where there are."""
        weight = self.quantized.weights.get(linear.name)
        if weight is None:
            matrix = self.constant(f"{linear.name}.weight", linear.weight.T)
        else:
            matrix = self._integers(f"{linear.name}.weight", weight.values.T, weight.scale, axis=1)
        product = self.node("MatMul", [x, matrix], f"{linear.name}.product")
        return self.node("Add", [product, self.constant(f"{linear.name}.bias", linear.bias)], output)
