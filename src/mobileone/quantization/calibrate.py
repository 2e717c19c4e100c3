"""Layer after layer to int8, each on what the integer layers before it really give."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mobileone.exporting.layers import PIXEL_MAX, Conv, Layers, Linear, read_pixels
from mobileone.exporting.quantized import INT8_MIN, Affine, Quantized, QuantizedWeight
from mobileone.quantization.equalize import equalize
from mobileone.quantization.ranges import STEPS, ChannelStats, Range, channel_stats, upper_ranges
from mobileone.quantization.rounding import round_weights, weight_scales
from mobileone.quantization.simulate import bordered, integer_conv

IMAGE = Affine((1 / PIXEL_MAX,), INT8_MIN)
# Second moments are taken of so many images that a channel has at least this many values, or of all.
MOMENT_VALUES, MOMENT_IMAGES = 50_000, 24
DAMPING = 0.01


def float_conv(conv: Conv, x: Tensor) -> Tensor:
    """(N, C, H, W) before attention and ReLU."""
    weight, bias = torch.from_numpy(conv.weight), torch.from_numpy(conv.bias)
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def windows(conv: Conv, x: Tensor) -> Tensor:
    """What the rows of a convolution read: (B, K, positions), B its groups, of x (N, C, H, W)."""
    n, channels = x.shape[:2]
    taps = F.unfold(x, conv.weight.shape[2:], conv.dilation, conv.padding, conv.stride)  # (N, C·kh·kw, P)
    taps = taps.view(n, conv.groups, channels // conv.groups * math.prod(conv.weight.shape[2:]), -1)
    return taps.permute(1, 2, 0, 3).flatten(2)


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
    ridge = DAMPING * moments.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
    damping = ridge[:, None, None] * torch.eye(moments.shape[1], dtype=torch.float64)
    damped = moments + damping
    weight = weight.double()
    fitted = torch.linalg.solve(damped, weight @ (cross + damping), left=False)
    return fitted, damped


def quantize_conv(
    conv: Conv, wanted: Tensor, read: Tensor, source: Affine, mean_output: Tensor
) -> QuantizedWeight:
    """Integers of a convolution, and the bias that gives its output the mean it should have.

    Args:
        conv: float.
        wanted: the float network's input.
        read: the integer network's input, as reals.
        source: how the input's integers are read.
        mean_output: (C,), the float output's mean before attention and ReLU.
    """
    size = wanted[0, 0].numel()
    chosen = slice(0, max(MOMENT_IMAGES, math.ceil(MOMENT_VALUES / size)))
    flat = torch.from_numpy(conv.weight).flatten(1).view(conv.groups, conv.out_channels // conv.groups, -1)
    fitted, moments = fit(flat, windows(conv, wanted[chosen]), windows(conv, read[chosen]))
    scale = weight_scales(fitted, moments).float()
    integers = round_weights(fitted, scale.double(), moments)
    shape = conv.weight.shape
    values = integers.view(shape).to(torch.int8).numpy()
    scales = scale.flatten()
    rounded = replace(
        conv, weight=(values * scales[:, None, None, None].numpy()).astype(np.float32), bias=0 * conv.bias
    )
    bias = mean_output - float_conv(rounded, read).mean((0, 2, 3))
    unit = source.step * scales.double()
    whole = (bias.double() / unit).round().clamp(-(2**31), 2**31 - 1)
    return QuantizedWeight(values=values, scale=scales.numpy(), bias=whole.to(torch.int32).numpy())


def quantize_linear(linear: Linear, wanted: Tensor, read: Tensor) -> tuple[Linear, QuantizedWeight]:
    """The classifier: int8 weights, float bias corrected for its mean output."""
    weight = torch.from_numpy(linear.weight)
    _, moments = fit(weight[None], wanted.T[None], read.T[None])
    scale = weight_scales(weight.double()[None], moments)[0].float()
    integers = round_weights(weight.double()[None], scale.double()[None], moments)[0]
    bias = (wanted @ weight.T - read @ (integers.float() * scale[:, None]).T).mean(0).numpy() + linear.bias
    values = integers.to(torch.int8).numpy()
    return replace(linear, bias=bias), QuantizedWeight(values=values, scale=scale.numpy(), bias=None)


def float_stats(layers: Layers, x: Tensor) -> list[ChannelStats]:
    """Of every convolution's output behind the ReLU."""
    stats = []
    for conv in layers.convs:
        x = float_conv(conv, x).relu_()
        stats.append(channel_stats(x))
    return stats


@torch.no_grad()
def calibrate(layers: Layers, pixels: Tensor, *, rule: Range = "mse") -> Quantized:
    """An int8 network from a float one and a few images of the kind that it will see.

    Args:
        layers: in float, on normalised images.
        pixels: uint8 (N, C, H, W).
        rule: how activations' ranges are chosen.
    """
    layers, border = read_pixels(layers)
    first, *others = layers.convs
    quantized = Quantized(layers=layers, weights={}, activations={"image": IMAGE}, border=border)
    image = bordered(quantized, pixels).div_(PIXEL_MAX)
    unpadded = replace(layers, convs=(replace(first, padding=(0, 0)), *others))
    stats = float_stats(unpadded, image)
    ranges = [upper_ranges(part, rule) for part in stats]
    with torch.enable_grad():
        equalized = equalize(unpadded, stats, ranges)
    weights: dict[str, QuantizedWeight] = {}
    activations = {"image": IMAGE}
    source, integers, wanted = IMAGE, image * PIXEL_MAX, image
    for conv in equalized.convs:
        preact = float_conv(conv, wanted)
        weights[conv.name] = quantize_conv(
            conv, wanted, integers * source.step, source, preact.mean((0, 2, 3))
        )
        output = Affine((1 / STEPS,), INT8_MIN)
        integers = integer_conv(conv, weights[conv.name], integers, source, output) - output.zero_point
        activations[conv.name] = source = output
        wanted = preact.relu_()
    classifier = equalized.classifier
    if classifier is not None:
        read = integers.mean((2, 3)) * source.step
        classifier, weights[classifier.name] = quantize_linear(classifier, wanted.mean((2, 3)), read)
    final = replace(
        equalized,
        convs=(replace(equalized.convs[0], padding=first.padding), *equalized.convs[1:]),
        classifier=classifier,
    )
    return Quantized(layers=final, weights=weights, activations=activations, border=border)
