"""An int8 network computed in PyTorch, integer for integer: the oracle that every runtime is held against.

Integers are held in floating point: a product sum below 2²⁴ is exact in float32 and below 2⁵³ in float64,
whichever order it is added in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mobileone.backends.fused_layers import AttentionLayer, ConvLayer, LinearLayer
from mobileone.backends.quantized_network import (
    GATE,
    INT8_MAX,
    INT8_MIN,
    STEPS,
    Int8Encoding,
    QuantizedNetwork,
    QuantizedWeight,
)
from mobileone.backends.table import Int8Head

EXACT_FLOAT32 = 2**24


def requantize(accumulator: Tensor, scale: Tensor, output: Int8Encoding) -> Tensor:
    """Product sums to the integers of the next layer, as XNNPACK does it: float32 product, half to even.

    Args:
        accumulator: (N, C, ...), integers.
        scale: (C,), float32: input scale · weight scale / output scale.
        output: how the result is read.

    Returns:
        Integers in −128..127, float32, the accumulator's shape. With a zero point of −128 the lower bound
        is the ReLU.

    >>> sums = torch.tensor([[-50.0, 5.0, 999.0]])
    >>> requantize(sums, torch.full((3,), 0.5), Int8Encoding((1.0,), -128)).tolist()
    [[-128.0, -126.0, 127.0]]
    """
    shape = (1, -1) + (1,) * (accumulator.ndim - 2)
    scaled = accumulator.to(torch.float32) * scale.view(shape)
    return scaled.round_().add_(output.zero_point).clamp_(INT8_MIN, INT8_MAX)


def accumulate(conv: ConvLayer, weight: QuantizedWeight, x: Tensor) -> Tensor:
    """Product sums and bias, integers (N, C, H', W'); x holds integers less their zero point."""
    assert weight.bias is not None
    reach = STEPS * int(np.abs(weight.values.astype(np.int64)).sum((1, 2, 3)).max())
    # Adding the bias rounds as a runtime's int32 sum does when it becomes float32.
    exact = reach < EXACT_FLOAT32 and np.array_equal(weight.bias.astype(np.float32), weight.bias)
    dtype = torch.float32 if exact else torch.float64
    values, bias = torch.from_numpy(weight.values).to(dtype), torch.from_numpy(weight.bias).to(dtype)
    sums = F.conv2d(x.to(dtype), values, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    return sums.add_(bias[:, None, None])


def integer_conv(
    conv: ConvLayer, weight: QuantizedWeight, x: Tensor, source: Int8Encoding, output: Int8Encoding
) -> Tensor:
    """Integers of one convolution's output, from integers x (N, C, H, W) less their zero point."""
    # In the order of the runtimes: input and weight scale first, in float32.
    scale = np.float32(source.step) * weight.scale / np.float32(output.step)
    return requantize(accumulate(conv, weight, x), torch.from_numpy(scale), output)


def integer_attention(
    attention: AttentionLayer, x: Tensor, source: Int8Encoding, output: Int8Encoding
) -> Tensor:
    """Integers of ReLU(x · gate), from integers x (N, C, H, W) less their zero point.

    The average is rounded to x's own integers, the gate is computed in double precision, so that the order of
    its sums does not show, and rounded to 1/256.
    """
    average = x.mean((2, 3)).round_() * source.step
    gate = float_gate(attention, average.double()).mul(1 / GATE.step).round_().clamp_(0, STEPS).float()
    scale = np.float32(source.step) * np.float32(GATE.step) / np.float32(output.step)
    product = x * gate[:, :, None, None]
    return requantize(product, torch.full((x.shape[1],), float(scale)), output)


def float_conv(conv: ConvLayer, x: Tensor) -> Tensor:
    """(N, C, H, W) before attention and ReLU."""
    weight, bias = torch.from_numpy(conv.weight), torch.from_numpy(conv.bias)
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def float_layer(conv: ConvLayer, x: Tensor) -> tuple[Tensor, Tensor]:
    """A convolution's output (N, C, H, W) before attention and ReLU, and behind them."""
    before = float_conv(conv, x)
    if conv.attention is None:
        return before, before.relu()
    gate = float_gate(conv.attention, before.mean((2, 3)))
    return before, (before * gate[:, :, None, None]).relu()


def float_gate(attention: AttentionLayer, average: Tensor) -> Tensor:
    """The channels' gates (N, C) in 0..1, from their averages, in those' precision."""
    inner = average
    for part in (attention.reduce, attention.expand):
        weight, bias = (each.to(average.dtype) for each in linear_tensors(part))
        inner = F.linear(inner.relu() if part is attention.expand else inner, weight, bias)
    return inner.sigmoid()


def linear_tensors(linear: LinearLayer) -> tuple[Tensor, Tensor]:
    """Weight (out, in) and bias (out,), in the layer's own memory."""
    return torch.from_numpy(linear.weight), torch.from_numpy(linear.bias)


def integer_outputs(
    quantized: QuantizedNetwork, pixels: Tensor
) -> Iterator[tuple[ConvLayer, Tensor, Int8Encoding]]:
    """Every convolution with its output: integers less their zero point (N, C, H, W), and scale.

    Args:
        quantized: the network.
        pixels: uint8 (N, C, H, W).
    """
    x, source = bordered(quantized, pixels), quantized.activations["image"]
    first, *others = quantized.layers.convs
    for conv in (replace(first, padding=(0, 0)), *others):
        x, source = integer_layer(quantized, conv, x, source)
        yield conv, x, source


def integer_layer(
    quantized: QuantizedNetwork, conv: ConvLayer, x: Tensor, source: Int8Encoding
) -> tuple[Tensor, Int8Encoding]:
    """One convolution with its attention: integers less their zero point, and how they are read."""
    output = quantized.activations[conv.name]
    x = integer_conv(conv, quantized.weights[conv.name], x, source, output) - output.zero_point
    if conv.attention is None:
        return x, output
    attended = quantized.activations[f"{conv.name}.attn"]
    return integer_attention(conv.attention, x, output, attended) - attended.zero_point, attended


def bordered(quantized: QuantizedNetwork, pixels: Tensor) -> Tensor:
    """The image with the first convolution's padding in the border's colour, float32, 0..255."""
    above, beside = quantized.layers.convs[0].padding
    n, _, height, width = pixels.shape
    border = torch.from_numpy(quantized.border).float()[None, :, None, None]
    out = border.repeat(n, 1, height + 2 * above, width + 2 * beside)
    out[:, :, above : above + height, beside : beside + width] = pixels
    return out.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def simulate(quantized: QuantizedNetwork, pixels: Tensor, *, head: Int8Head = "weights") -> Tensor:
    """Logits (N, classes), float32, of uint8 pixels (N, C, H, W).

    Args:
        quantized: the network.
        pixels: the images.
        head: what the classifier reads, the one thing in which runtimes differ; the table of backends
            says it of each.
    """
    for _, integers, encoding in integer_outputs(quantized, pixels):  # noqa: B007
        pass
    pooled = integers.mean((2, 3)) * encoding.step
    classifier = quantized.layers.classifier
    if classifier is None:
        return pooled
    if head == "dynamic":
        pooled = dynamic(pooled)
    elif head == "static":
        step = quantized.activations["pooled"].step
        pooled = (pooled / step).round_().clamp_(0, STEPS) * step
    weight = quantized.weights[classifier.name]
    dequantized = torch.from_numpy(weight.values).float() * torch.from_numpy(weight.scale)[:, None]
    return F.linear(pooled, dequantized, torch.from_numpy(classifier.bias))


def dynamic(x: Tensor) -> Tensor:
    """Rows of x (N, C) rounded to eight bits, with a scale and zero point of their own, as reals."""
    low, high = x.amin(1, keepdim=True).clamp(max=0), x.amax(1, keepdim=True).clamp(min=0)
    scale = (high - low).clamp_min(1e-30) / STEPS
    zero = (INT8_MIN - low / scale).round()
    integers = (x / scale).round().add(zero).clamp(INT8_MIN, INT8_MAX)
    return (integers - zero) * scale
