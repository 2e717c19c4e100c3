"""An int8 network in NumPy, integer for integer: what the C file's self-test must find. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.fused_layers import AttentionLayer, ConvLayer
from mobileone.backends.quantized_network import (
    GATE,
    STEPS,
    UINT8_OFFSET,
    Int8Encoding,
    QuantizedNetwork,
    QuantizedWeight,
)

Bytes: TypeAlias = NDArray[np.uint8]
Sums: TypeAlias = NDArray[np.int64]
FNV_START, FNV_PRIME = 2166136261, 16777619


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class IntegerResult:
    """What one image gives.

    Attributes:
        last_map: what the average is taken of, uint8 (H', W', C').
        sums: of the last map, a channel each.
        class_sums: products of the rounded average with the classifier's weights; None without a classifier.
        outputs: float32, logits, averages, or feature maps (H', W', C') one behind another.
    """

    last_map: Bytes
    sums: Sums
    class_sums: Sums | None
    outputs: NDArray[np.float32]

    @property
    def digest(self) -> int:
        """32 bits of all integers, as the C file computes them."""
        parts = [self.sums] if self.class_sums is None else [self.sums, self.class_sums]
        value = FNV_START
        for number in np.concatenate(parts).tolist():
            value = (value ^ (number & 0xFFFFFFFF)) * FNV_PRIME & 0xFFFFFFFF
        return value


def conv_scale(weight: QuantizedWeight, source: Int8Encoding, output: Int8Encoding) -> NDArray[np.float32]:
    """From a channel's sums to the output's steps, float32, in the order of the runtimes."""
    scale = np.float32(source.step) * weight.scale / np.float32(output.step)
    return np.asarray(scale, np.float32)


def gate_scale(source: Int8Encoding, output: Int8Encoding) -> np.float32:
    """From value times gate to the output's steps."""
    return np.float32(np.float32(source.step) * np.float32(GATE.step) / np.float32(output.step))


def zero_offset(affine: Int8Encoding) -> int:
    """The byte that stands for zero."""
    return affine.zero_point + UINT8_OFFSET


def run_integers(quantized: QuantizedNetwork, image: Bytes) -> IntegerResult:
    """One image, uint8 (H, W, C), through the network.

    Args:
        quantized: the network; its activations start at zero.
        image: pixels.
    """
    layers, activations = quantized.layers, quantized.activations
    above, beside = layers.convs[0].padding
    height, width = image.shape[:2]
    x = np.tile(quantized.border, (height + 2 * above, width + 2 * beside, 1))
    x[above : above + height, beside : beside + width] = image
    source, maps = activations["image"], []
    for index, conv in enumerate(layers.convs):
        padding = conv.padding if index else (0, 0)  # the image has its border already
        output = activations[conv.name]
        weight = quantized.weights[conv.name]
        x = _rounded(
            _products(conv, weight, x, padding), conv_scale(weight, source, output), zero_offset(output)
        )
        source = output
        if conv.attention is not None:
            source = activations[f"{conv.name}.attn"]
            x = _attend(conv.attention, x, output, source)
        if conv.name in layers.features:
            maps.append(x * feature_scale(quantized, conv))
    sums = x.sum((0, 1), dtype=np.int64)
    average = sums.astype(np.float32) / np.float32(x.shape[0] * x.shape[1]) * np.float32(source.step)
    classifier = layers.classifier
    if classifier is None:
        outputs = np.concatenate([each.ravel() for each in maps]) if maps else average
        return IntegerResult(last_map=x, sums=sums, class_sums=None, outputs=outputs)
    step = np.float32(activations["pooled"].step)
    features = np.clip(np.rint(average / step), 0, STEPS).astype(np.int64)
    weight = quantized.weights[classifier.name]
    class_sums = weight.values.astype(np.int64) @ features
    logits = class_sums * (weight.scale * step).astype(np.float64) + classifier.bias
    return IntegerResult(last_map=x, sums=sums, class_sums=class_sums, outputs=logits.astype(np.float32))


def feature_scale(quantized: QuantizedNetwork, conv: ConvLayer) -> NDArray[np.float32]:
    """(C,): what a step of each channel behind a convolution stands for, in the float network's units."""
    step = np.float32(quantized.activations[conv.output_name].step)
    gains = quantized.gains.get(conv.name)
    return np.full(conv.out_channels, step) if gains is None else np.asarray(step * gains, np.float32)


def class_maps(quantized: QuantizedNetwork, last_map: Bytes) -> NDArray[np.float32]:
    """What every place of the last map adds to every class's logit, float32 (H', W', classes)."""
    classifier = quantized.layers.classifier
    assert classifier is not None
    weight, step = quantized.weights[classifier.name], quantized.activations["pooled"].step
    last = np.float32(quantized.activations[quantized.layers.convs[-1].output_name].step)
    unit = (weight.scale * np.float32(step)).astype(np.float64) * last / np.float32(step)
    maps: NDArray[np.float32] = (last_map.astype(np.int64) @ weight.values.T.astype(np.int64) * unit).astype(
        np.float32
    )
    return maps


def _products(
    conv: ConvLayer, weight: QuantizedWeight, x: Bytes, padding: tuple[int, int]
) -> NDArray[np.float64]:
    """Sums of products and bias (H', W', C'), whole numbers."""
    above, beside = padding
    kernel_height, kernel_width = conv.weight.shape[2:]
    read = np.pad(x, ((above, above), (beside, beside), (0, 0)))
    height = (read.shape[0] - kernel_height) // conv.stride[0] + 1
    width = (read.shape[1] - kernel_width) // conv.stride[1] + 1
    values = weight.values.astype(np.float64)  # (out, in, kh, kw); whole numbers below 2⁵³ are exact
    assert weight.bias is not None
    sums = np.empty((height, width, len(values)))
    sums[:] = weight.bias
    for ky in range(kernel_height):
        for kx in range(kernel_width):
            rows = slice(ky, ky + conv.stride[0] * (height - 1) + 1, conv.stride[0])
            columns = slice(kx, kx + conv.stride[1] * (width - 1) + 1, conv.stride[1])
            tap = read[rows, columns].astype(np.float64)
            sums += tap @ values[:, :, ky, kx].T if conv.groups == 1 else tap * values[:, 0, ky, kx]
    return sums


def _rounded(sums: NDArray[np.float64], scale: NDArray[np.float32] | np.float32, offset: int) -> Bytes:
    whole = np.rint(sums.astype(np.float32) * scale) + np.float32(offset)
    rounded: Bytes = np.clip(whole, 0, STEPS).astype(np.uint8)
    return rounded


def _attend(attention: AttentionLayer, x: Bytes, source: Int8Encoding, output: Int8Encoding) -> Bytes:
    offset, count = zero_offset(source), np.float32(x.shape[0] * x.shape[1])
    centred = x.astype(np.int64) - offset
    mean = np.rint(centred.sum((0, 1)).astype(np.float32) / count)
    average = (mean * np.float32(source.step)).astype(np.float64)
    reduce, expand = attention.reduce, attention.expand
    hidden = np.maximum(reduce.weight.astype(np.float64) @ average + reduce.bias, 0)
    gates = 1 / (1 + np.exp(-(expand.weight.astype(np.float64) @ hidden + expand.bias)))
    whole = np.clip(np.rint(gates / GATE.step), 0, STEPS)
    return _rounded(centred * whole, gate_scale(source, output), zero_offset(output))
