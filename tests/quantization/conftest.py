"""What the tests of equalising share."""

from dataclasses import replace

import pytest
import torch

from mobileone.backends.fused_layers import layers_of, read_pixels
from mobileone.backends.quantized_network import QuantizedNetwork
from mobileone.quantization.equalize import Reader
from mobileone.quantization.ranges import channel_stats
from mobileone.quantization.simulate import bordered, float_layer


@pytest.fixture
def unpadded(small_network, small_pictures):
    """The network without its first padding, and the images that it reads then."""
    layers, border = read_pixels(layers_of(small_network))
    quantized = QuantizedNetwork(layers=layers, weights={}, activations={}, border=border)
    image = bordered(quantized, small_pictures) / 255
    first, *others = layers.convs
    return replace(layers, convs=(replace(first, padding=(0, 0)), *others)), image


@pytest.fixture(scope="session")
def layer_logits():
    """`layer_logits(layers, x)`: what float layers give for images with their border."""

    def run(layers, x):
        for conv in layers.convs:
            x = float_layer(conv, x)[1]
        head = layers.classifier
        return x.mean((2, 3)) @ torch.from_numpy(head.weight).T + torch.from_numpy(head.bias)

    return run


@pytest.fixture(scope="session")
def reader_of():
    """`reader_of(x, weight, **changes)`."""

    def make(x, weight, **changes):
        """What reads x (N, C, H, W) through weight (out, C); every position is in the sample."""
        stats = channel_stats(x)
        values = Reader(
            weight=weight,
            importance=torch.ones(len(weight)),
            ranges=stats.maximum,
            nonzero=stats.nonzero,
            power=stats.mean_square,
            sample=x.transpose(0, 1).flatten(1)[..., None],
            share=torch.full((x[0, 0].numel(),), 1 / x[0, 0].numel()),
            cuts=False,
        )
        return replace(values, **changes)

    return make


@pytest.fixture
def spread_out():
    """Channels whose ranges differ a hundredfold, (4, 24, 8, 8), and weights that read them, (16, 24)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 24, 8, 8, generator=generator).relu() * torch.logspace(-1, 1, 24)[:, None, None]
    return x, torch.randn(16, 24, generator=generator)
