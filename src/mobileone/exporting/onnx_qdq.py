"""Int8 layers to ONNX with QuantizeLinear and DequantizeLinear, in the patterns that runtimes fuse whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mobileone.exporting.layers import Conv, Linear
from mobileone.exporting.quantized import Affine, Quantized

OPSET = 19
ONNX_IR_VERSION = 10


def onnx_int8_model(quantized: Quantized, *, batch_size: int | None = 1) -> onnx.ModelProto:
    """An int8 graph: uint8 pixels, channels last, to float32 logits (N, classes)."""
    writer = _Writer(quantized)
    spec, layers = quantized.layers.input_spec, quantized.layers
    batch = batch_size or "N"
    image = helper.make_tensor_value_info(
        "image", TensorProto.UINT8, [batch, spec.size, spec.size, spec.in_chans]
    )
    x = writer.node("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])
    x = writer.dequantize(x, quantized.activations["image"])
    for conv in layers.convs:
        x = writer.conv(x, conv)
    x = writer.node("GlobalAveragePool", [x], "average")
    x = writer.quantized("pooled", x)
    x = writer.node("Flatten", [x], "features")
    assert layers.classifier is not None
    writer.classify(x, layers.classifier)
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, layers.num_outputs])
    graph = helper.make_graph(writer.nodes, "mobileone", [image], [logits], writer.constants)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=ONNX_IR_VERSION
    )


class _Writer:
    def __init__(self, quantized: Quantized) -> None:
        self.quantized_net = quantized
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _affine(self, name: str, affine: Affine) -> list[str]:
        scale = self.constant(f"{name}.scale", np.array(affine.step, np.float32))
        zero = self.constant(f"{name}.zero_point", np.array(affine.zero_point + 128, np.uint8))
        return [scale, zero]

    def dequantize(self, x: str, affine: Affine) -> str:
        return self.node("DequantizeLinear", [x, *self._affine(x, affine)], f"{x}.real")

    def quantized(self, name: str, x: str) -> str:
        """Round x to eight bits and read it back."""
        affine = self._affine(name, self.quantized_net.activations[name])
        q = self.node("QuantizeLinear", [x, *affine], f"{name}.uint8")
        return self.node("DequantizeLinear", [q, *affine], f"{name}.real")

    def weights(self, part: Conv | Linear, source_step: float) -> list[str]:
        w = self.quantized_net.weights[part.name]
        scale = self.constant(f"{part.name}.weight.scale", w.scale)
        zero = self.constant(f"{part.name}.weight.zero_point", np.zeros(len(w.scale), np.int8))
        values = self.constant(f"{part.name}.weight.int8", w.values)
        weight = self.node("DequantizeLinear", [values, scale, zero], f"{part.name}.weight", axis=0)
        if w.bias is None:
            return [weight, self.constant(f"{part.name}.bias", part.bias)]
        scale = self.constant(f"{part.name}.bias.scale", np.float32(source_step) * w.scale)
        zero = self.constant(f"{part.name}.bias.zero_point", np.zeros(len(w.scale), np.int32))
        values = self.constant(f"{part.name}.bias.int32", w.bias)
        return [weight, self.node("DequantizeLinear", [values, scale, zero], f"{part.name}.bias", axis=0)]

    def conv(self, x: str, conv: Conv) -> str:
        source = self.quantized_net.activations["image" if x == "planes.real" else x.removesuffix(".real")]
        y = self.node(
            "Conv",
            [x, *self.weights(conv, source.step)],
            f"{conv.name}.sum",
            strides=conv.stride,
            pads=[*conv.padding, *conv.padding],
            dilations=conv.dilation,
            group=conv.groups,
            kernel_shape=conv.weight.shape[2:],
        )
        return self.quantized(conv.name, y)

    def classify(self, x: str, linear: Linear) -> str:
        weight, bias = self.weights(linear, 0)
        return self.node("Gemm", [x, weight, bias], "logits", transB=1)
