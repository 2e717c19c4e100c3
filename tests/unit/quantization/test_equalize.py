"""Equalising changes no function, and makes ranges equal where that is free."""

from dataclasses import replace

import numpy as np
import torch

from mobileone.exporting.layers import layers_of, read_pixels
from mobileone.exporting.quantized import Quantized
from mobileone.quantization.calibrate import float_layer, survey
from mobileone.quantization.equalize import balance, equalize, reading_noise
from mobileone.quantization.ranges import channel_stats, upper_ranges
from mobileone.quantization.simulate import bordered


def logits(layers, x):
    for conv in layers.convs:
        x = float_layer(conv, x)[1]
    head = layers.classifier
    return x.mean((2, 3)) @ torch.from_numpy(head.weight).T + torch.from_numpy(head.bias)


def test_the_function_stays_and_ranges_become_equal(small, pictures):
    layers, border = read_pixels(layers_of(small))
    image = bordered(Quantized(layers=layers, weights={}, activations={}, border=border), pictures) / 255
    first, *others = layers.convs
    layers = replace(layers, convs=(replace(first, padding=(0, 0)), *others))
    with torch.no_grad():
        stats, ranges = survey(layers, image, "minmax")
    equal = equalize(layers, stats, ranges)
    wanted = logits(layers, image)
    torch.testing.assert_close(logits(equal, image), wanted, rtol=0, atol=1e-4 * wanted.abs().max().item())
    with torch.no_grad():
        _, after = survey(equal, image, "minmax")
    for index, conv in enumerate(layers.convs[1:]):
        assert after[index].max() < 1.001
        if conv.is_depthwise and layers.convs[index].attention is None:
            equal_channels = (after[index] > 0.5).double().mean()
            assert equal_channels > 0.9, (
                "but for silent ones a depthwise reader's inputs are equalised completely"
            )
    assert min(r.min() / r.max() for r in ranges) < 0.2, "before, they were not"


def test_balancing_beats_leaving_alone_and_equalising_completely():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 24, 8, 8, generator=generator).relu() * torch.logspace(-1, 1, 24)[:, None, None]
    weight = torch.randn(16, 24, generator=generator)
    stats = channel_stats(x)
    ranges = upper_ranges(stats, "minmax")
    noise = [
        reading_noise(factor, weight, ranges, stats).item()
        for factor in (balance(weight, ranges, stats), torch.ones(24), ranges)
    ]
    assert noise[0] < 0.9 * min(noise[1:])


def test_the_noise_formula_is_what_rounding_does():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(64, 24, 8, 8, generator=generator)
    weight = torch.randn(16, 24, generator=generator)
    stats = channel_stats(x)
    ranges = torch.ones(24)
    rounded = (x * 255).round() / 255
    flat, read = (v.permute(1, 0, 2, 3).flatten(1) for v in (x, rounded))
    activations_alone = ((weight @ read - weight @ flat) ** 2).mean(1).sum().item()
    no_weights = replace_share(reading_noise, weight, ranges, stats)
    np.testing.assert_allclose(no_weights, activations_alone, rtol=0.1)


def replace_share(noise, weight, ranges, stats):
    """The activations' part of the noise: what is left when the inputs' power counts nothing for weights."""
    silent = type(stats)(stats.maximum, stats.histogram, torch.zeros_like(stats.mean_square), stats.nonzero)
    return noise(torch.ones(len(ranges)), weight, ranges, silent).item()
