"""Layer after layer to int8, each on what the integer layers before it really give."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mobileone.exporting.layers import PIXEL_MAX, Conv, Layers, Linear, read_pixels
from mobileone.exporting.quantized import INT8_MIN, STEPS, Affine, Quantized, QuantizedWeight
from mobileone.quantization.equalize import Reader, balance, equalize
from mobileone.quantization.ranges import Range, affine_of, channel_stats, upper_ranges
from mobileone.quantization.rounding import round_weights, weight_scales
from mobileone.quantization.simulate import bordered, float_gate, integer_layer

IMAGE = Affine((1 / PIXEL_MAX,), INT8_MIN)
OUTPUT = Affine((1 / STEPS,), INT8_MIN)  # equalised: every tensor reaches 1
# Second moments are taken of so many images that a channel has at least this many values, or of all.
MOMENT_VALUES, MOMENT_IMAGES = 20_000, 16
DAMPING = 0.01
LARGEST_BIAS = 2**24  # in units of the accumulator, which float32 still holds exactly


def float_conv(conv: Conv, x: Tensor) -> Tensor:
    """(N, C, H, W) before attention and ReLU."""
    weight, bias = torch.from_numpy(conv.weight), torch.from_numpy(conv.bias)
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def windows(conv: Conv, x: Tensor) -> Tensor:
    """What the rows of a convolution read: (B, K, positions), B its groups, of x (N, C, H, W)."""
    n, channels = x.shape[:2]
    if conv.weight.shape[2:] == (1, 1) and conv.stride == (1, 1):
        return x.transpose(0, 1).reshape(1, channels, -1)
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
    # A channel of hardly any weight has its bias alone, which must fit into the integers too.
    smallest = mean_output.double().abs().view(flat.shape[:2]) / (source.step * LARGEST_BIAS)
    scale = torch.maximum(weight_scales(fitted, moments), smallest).float()
    integers = round_weights(fitted, scale.double(), moments)
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


def quantize_linear(linear: Linear, wanted: Tensor, read: Tensor) -> tuple[Linear, QuantizedWeight]:
    """The classifier: int8 weights, float bias corrected for its mean output."""
    weight = torch.from_numpy(linear.weight)
    _, moments = fit(weight[None], wanted.T[None], read.T[None])
    scale = weight_scales(weight.double()[None], moments)[0].float()
    integers = round_weights(weight.double()[None], scale.double()[None], moments)[0]
    bias = (wanted @ weight.T - read @ (integers.float() * scale[:, None]).T).mean(0).numpy() + linear.bias
    values = integers.to(torch.int8).numpy()
    return replace(linear, bias=bias), QuantizedWeight(values=values, scale=scale.numpy(), bias=None)


def float_layer(conv: Conv, x: Tensor) -> tuple[Tensor, Tensor]:
    """A convolution's output (N, C, H, W) before attention and ReLU, and behind them."""
    before = float_conv(conv, x)
    if conv.attention is None:
        return before, before.relu()
    gate = float_gate(conv.attention, before.mean((2, 3)))
    return before, (before * gate[:, :, None, None]).relu_()


SAMPLE_LOUD, SAMPLE_ANY = 12, 8
IMPORTANCE_IMAGES = 16


def sample(x: Tensor, ranges: Tensor) -> tuple[Tensor, Tensor]:
    """(C, N·P, 1), share (P,)."""
    n, c = x.shape[:2]
    flat = x.flatten(2)
    size = flat.shape[2]
    order = (flat / ranges[:, None]).amax(1).argsort(1, descending=True)  # (N, HW)
    top, rest = order[:, :SAMPLE_LOUD], order[:, SAMPLE_LOUD:]
    generator = torch.Generator().manual_seed(0)
    rest = rest[:, torch.randperm(rest.shape[1], generator=generator)[:SAMPLE_ANY]]
    chosen = torch.cat([top, rest], 1)
    share = torch.ones(chosen.shape[1])
    share[SAMPLE_LOUD:] = (size - top.shape[1]) / max(rest.shape[1], 1)
    values = flat.gather(2, chosen[:, None].expand(-1, c, -1))
    return values.transpose(0, 1).flatten(1)[..., None], share / size


def importances(layers: Layers, x: Tensor) -> list[Tensor]:
    sums = []
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        for conv in layers.convs:
            before, x = float_layer(conv, x)
            before.retain_grad()
            sums.append(before)
        logits = x.mean((2, 3))
        if layers.classifier is not None:
            logits = F.linear(logits, torch.from_numpy(layers.classifier.weight))
        generator = torch.Generator().manual_seed(0)
        direction = torch.randint(0, 2, logits.shape, generator=generator) * 2.0 - 1
        direction -= direction.mean(1, keepdim=True)
        (logits * direction).sum().backward()
    power = (logits - logits.mean(1, keepdim=True)).square().sum(1).mean().item()
    return [total.grad.square().sum((2, 3)).mean(0) / power for total in sums], power


def choose_factors(layers: Layers, x: Tensor, rule: Range) -> list[Tensor]:
    """What every convolution's channels are divided by."""
    important, power_of_logits = importances(layers, x[:IMPORTANCE_IMAGES])
    import os
    if os.environ.get("NOG"): important = [torch.ones_like(g) for g in important]
    chain: list[Conv | Linear] = [*layers.convs]
    if layers.classifier is not None:
        chain.append(layers.classifier)
        important.append(torch.ones(len(layers.classifier.bias)) / power_of_logits)
    factors = []
    for index, conv in enumerate(layers.convs):
        before, x = float_layer(conv, x)
        stats = channel_stats(x)
        if conv.attention is None:
            ranges = upper_ranges(stats, rule)
        else:
            ranges = before.abs().amax((0, 2, 3)).clamp_min(1e-6)
        del before
        if index + 1 == len(chain):
            factors.append(ranges)
            continue
        reader = chain[index + 1]
        if isinstance(reader, Conv) and reader.is_depthwise:
            factors.append(ranges)
            continue
        power = stats.mean_square
        if isinstance(reader, Linear):
            values, share = x.transpose(0, 1).flatten(2), torch.ones(1)
            power = values.mean(2).square().mean(1)
        else:
            values, share = sample(x, ranges)
        factors.append(balance(Reader(
            weight=torch.from_numpy(reader.weight).flatten(1),
            importance=important[index + 1],
            stats=stats, ranges=ranges, cut=rule == "mse" and conv.attention is None, sample=values, share=share, power=power)))
    return factors


def calibrate(layers: Layers, pixels: Tensor, *, rule: Range = "mse") -> Quantized:
    """An int8 network from a float one and a few images of the kind that it will see.

    Args:
        layers: in float, on normalised images.
        pixels: uint8 (N, C, H, W).
        rule: how activations' ranges are chosen.
    """
    layers, border = read_pixels(layers)
    first, *others = layers.convs
    image = bordered(Quantized(layers=layers, weights={}, activations={}, border=border), pixels)
    unpadded = replace(layers, convs=(replace(first, padding=(0, 0)), *others))
    with torch.no_grad():
        pass
    with torch.no_grad():
        with torch.enable_grad() if False else torch.no_grad():
            factors = choose_factors(unpadded, image / PIXEL_MAX, rule)
    equalized = equalize(unpadded, factors)
    with torch.no_grad():
        quantized = _quantize_in_turn(
            replace(layers, convs=equalized.convs, classifier=equalized.classifier), image, border
        )
    first, *others = quantized.layers.convs
    padded = (replace(first, padding=layers.convs[0].padding), *others)
    return replace(quantized, layers=replace(quantized.layers, convs=padded))


def _quantize_in_turn(layers: Layers, image: Tensor, border: NDArray[np.uint8]) -> Quantized:
    weights: dict[str, QuantizedWeight] = {}
    activations = {"image": IMAGE}
    partial = Quantized(layers=layers, weights=weights, activations=activations, border=border)
    wanted, integers, source = image / PIXEL_MAX, image, IMAGE
    for conv in layers.convs:
        before, behind = float_layer(conv, wanted)
        read = integers * source.step
        weights[conv.name] = quantize_conv(conv, wanted, read, source, before.mean((0, 2, 3)))
        activations[conv.name] = OUTPUT
        if conv.attention is not None:
            activations[conv.name] = affine_of(before)
            activations[f"{conv.name}.attn"] = affine_of(behind)
        integers, source = integer_layer(partial, conv, integers, source)
        wanted = behind
    pooled = integers.mean((2, 3)) * source.step
    activations["pooled"] = Affine((max(pooled.max().item(), 1e-6) / STEPS,), INT8_MIN)
    if layers.classifier is None:
        return partial
    classifier, integer_classifier = quantize_linear(layers.classifier, wanted.mean((2, 3)), pooled)
    weights[classifier.name] = integer_classifier
    return replace(partial, layers=replace(layers, classifier=classifier))
