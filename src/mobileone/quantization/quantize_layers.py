"""Layer after layer to int8, each on what the integer layers before it really give."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mobileone.backends.fused_layers import PIXEL_MAX, ConvLayer, FusedLayers, LinearLayer, read_pixels
from mobileone.backends.quantized_network import (
    INT8_MIN,
    STEPS,
    Int8Encoding,
    QuantizedNetwork,
    QuantizedWeight,
)
from mobileone.quantization.equalize import equalize
from mobileone.quantization.factors import choose_factors
from mobileone.quantization.ranges import Range, encoding_of
from mobileone.quantization.rounding import WeightBits, round_weights, weight_scales
from mobileone.quantization.simulate import bordered, float_conv, float_layer, integer_layer

IMAGE = Int8Encoding((1 / PIXEL_MAX,), INT8_MIN)
OUTPUT = Int8Encoding((1 / STEPS,), INT8_MIN)  # equalised: every tensor reaches 1
MOMENT_VALUES = 30_000  # of each channel, about, for second moments
DAMPING = 0.01
# Weights fitted more closely follow what happens in these photos alone: on a hundred of them, a hundredth of
# this makes the error there smaller and that on other photos larger.
RIDGE = 1.0
LARGEST_BIAS = 2**24  # in units of the accumulator, which float32 still holds exactly


def windows(conv: ConvLayer, x: Tensor, *, num: int | None = None) -> Tensor:
    """What the rows of a convolution read: (B, K, positions), B its groups, of x (N, C, H, W).

    Args:
        conv: the convolution.
        x: its input.
        num: about how many positions are enough; they come from all images, from rows evenly spaced. None
            takes all.
    """
    n, channels = x.shape[:2]
    height, width = conv.output_size((x.shape[2], x.shape[3]))
    count = height if num is None else min(height, math.ceil(num / (n * width)))
    rows = ((torch.arange(count) + 0.5) * height / count).long()
    above, beside = conv.padding
    kernel_height, kernel_width = conv.weight.shape[2:]
    taps = rows[:, None] * conv.stride[0] + torch.arange(kernel_height) * conv.dilation[0]
    columns = torch.arange(width)[:, None] * conv.stride[1] + torch.arange(kernel_width) * conv.dilation[1]
    # Only the rows that are read are padded: (N, C, rows, kernel height, W + 2·beside).
    inside = ((taps >= above) & (taps < above + x.shape[2])).to(x.dtype)
    read = x[:, :, (taps - above).clamp(0, x.shape[2] - 1)] * inside[:, :, None]
    read = F.pad(read, (beside, beside))[..., columns]  # (N, C, rows, kh, columns, kw)
    read = read.permute(1, 3, 5, 0, 2, 4).reshape(channels, kernel_height * kernel_width, -1)
    return read.reshape(conv.groups, -1, read.shape[2])


def fit(weight: Tensor, wanted: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
    """Weights for the inputs that a layer really reads, and those inputs' second moments.

    Args:
        weight: (B, R, K), meant for the inputs `wanted`.
        wanted: (B, K, P), the float network's inputs, at the same P positions as
        read: (B, K, P), the integer network's.

    Returns:
        The weights whose output for `read` is nearest to that of `weight` for `wanted` (ridge regression
        towards `weight`; a bias takes the means), and the damped covariance (B, K, K) of `read`.
    """
    wanted = wanted - wanted.mean(2, keepdim=True)
    read = read - read.mean(2, keepdim=True)
    positions = read.shape[2]
    moments = (read @ read.transpose(1, 2)).double() / positions
    cross = (wanted @ read.transpose(1, 2)).double() / positions
    size = moments.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
    unit = size[:, None, None] * torch.eye(moments.shape[1], dtype=torch.float64)
    weight, ridge = weight.double(), RIDGE * unit
    fitted = torch.linalg.solve(moments + ridge, weight @ (cross + ridge), left=False)
    return fitted, moments + DAMPING * unit


def quantize_conv(
    conv: ConvLayer,
    wanted: Tensor,
    read: Tensor,
    source: Int8Encoding,
    mean_output: Tensor,
    *,
    bits: WeightBits = 8,
) -> QuantizedWeight:
    """Integers of a convolution, and the bias that gives its output the mean it should have.

    Args:
        conv: float.
        wanted: the float network's input.
        read: the integer network's input, as reals.
        source: how the input's integers are read.
        mean_output: (C,), the float output's mean before attention and ReLU.
        bits: of a weight.
    """
    flat = torch.from_numpy(conv.weight).flatten(1).view(conv.groups, conv.out_channels // conv.groups, -1)
    fitted, moments = fit(flat, *(windows(conv, x, num=MOMENT_VALUES) for x in (wanted, read)))
    # A channel of hardly any weight has its bias alone, which must fit into the integers too.
    smallest = mean_output.double().abs().view(flat.shape[:2]) / (source.step * LARGEST_BIAS)
    scale = torch.maximum(weight_scales(fitted, moments, bits=bits), smallest).float()
    integers = round_weights(fitted, scale.double(), moments, bits=bits)
    shape = conv.weight.shape
    values = integers.view(shape).to(torch.int8).numpy()
    scales = scale.flatten()
    rounded = replace(
        conv, weight=(values * scales[:, None, None, None].numpy()).astype(np.float32), bias=0 * conv.bias
    )
    bias = mean_output - float_conv(rounded, read).mean((0, 2, 3))
    unit = source.step * scales.double()
    whole = (bias.double() / unit).round().clamp(-(2**31), 2**31 - 1)  # far below any sum that fires
    return QuantizedWeight(values=values, scale=scales.numpy(), bias=whole.to(torch.int32).numpy())


def quantize_linear(
    linear: LinearLayer, wanted: Tensor, read: Tensor, *, bits: WeightBits = 8
) -> tuple[LinearLayer, QuantizedWeight]:
    """The classifier: integer weights, float bias corrected for its mean output."""
    weight = torch.from_numpy(linear.weight)
    _, moments = fit(weight[None], wanted.T[None], read.T[None])
    scale = weight_scales(weight.double()[None], moments, bits=bits)[0].float()
    integers = round_weights(weight.double()[None], scale.double()[None], moments, bits=bits)[0]
    bias = (wanted @ weight.T - read @ (integers.float() * scale[:, None]).T).mean(0).numpy() + linear.bias
    values = integers.to(torch.int8).numpy()
    return replace(linear, bias=bias), QuantizedWeight(values=values, scale=scale.numpy(), bias=None)


def quantize_layers(
    layers: FusedLayers, pixels: Tensor, *, rule: Range = "mse", weight_bits: WeightBits = 8
) -> QuantizedNetwork:
    """An int8 network from a float one and a few images of the kind that it will see.

    Args:
        layers: in float, on normalised images.
        pixels: uint8 (N, C, H, W).
        rule: how activations' ranges are chosen.
        weight_bits: of a weight.
    """
    layers, border = read_pixels(layers)
    first, *others = layers.convs
    image = bordered(QuantizedNetwork(layers=layers, weights={}, activations={}, border=border), pixels)
    unpadded = replace(layers, convs=(replace(first, padding=(0, 0)), *others))
    with torch.no_grad():
        factors = choose_factors(unpadded, image / PIXEL_MAX, rule, weight_bits=weight_bits)
        equalized = equalize(unpadded, factors)
        equalized = replace(layers, convs=equalized.convs, classifier=equalized.classifier)
        quantized = _quantize_in_turn(equalized, image, border, weight_bits)
    first, *others = quantized.layers.convs
    padded = (replace(first, padding=layers.convs[0].padding), *others)
    gains = {
        conv.name: factor.numpy()
        for conv, factor in zip(padded[:-1], factors, strict=False)
        if conv.name in layers.features
    }
    last = padded[-1]  # not equalised where no classifier reads it
    gains[last.name] = np.ones(last.out_channels, np.float32)
    if layers.classifier is not None:
        gains[last.name] = factors[len(padded) - 1].numpy()
    return replace(quantized, layers=replace(quantized.layers, convs=padded), gains=gains)


def _quantize_in_turn(
    layers: FusedLayers, image: Tensor, border: NDArray[np.uint8], bits: WeightBits
) -> QuantizedNetwork:
    weights: dict[str, QuantizedWeight] = {}
    activations = {"image": IMAGE}
    partial = QuantizedNetwork(layers=layers, weights=weights, activations=activations, border=border)
    wanted, integers, source = image / PIXEL_MAX, image, IMAGE
    for conv in layers.convs:
        before, behind = float_layer(conv, wanted)
        read = integers * source.step
        weights[conv.name] = quantize_conv(conv, wanted, read, source, before.mean((0, 2, 3)), bits=bits)
        activations[conv.name] = OUTPUT
        if conv is layers.convs[-1] and layers.classifier is None:
            activations[conv.name] = encoding_of(behind)  # the network's output, which is not equalised
        if conv.attention is not None:
            activations[conv.name] = encoding_of(before)
            activations[f"{conv.name}.attn"] = encoding_of(behind)
        integers, source = integer_layer(partial, conv, integers, source)
        wanted = behind
    pooled = integers.mean((2, 3)) * source.step
    activations["pooled"] = Int8Encoding((max(pooled.max().item(), 1e-6) / STEPS,), INT8_MIN)
    if layers.classifier is None:
        return partial
    classifier, weight = quantize_linear(layers.classifier, wanted.mean((2, 3)), pooled, bits=bits)
    weights[classifier.name] = weight
    return replace(partial, layers=replace(layers, classifier=classifier))
