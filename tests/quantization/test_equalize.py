"""Equalising changes no function, and makes ranges equal where that is free."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mobileone.backends.fused_layers import layers_of, read_pixels
from mobileone.backends.quantized_network import QuantizedNetwork
from mobileone.quantization.equalize import (
    Reader,
    balance,
    cutting_noise,
    equalize,
    reading_noise,
    rounding_noise,
)
from mobileone.quantization.factors import choose_factors, output_effects, sampled
from mobileone.quantization.ranges import channel_stats
from mobileone.quantization.simulate import bordered, float_layer


def logits(layers, x):
    for conv in layers.convs:
        x = float_layer(conv, x)[1]
    head = layers.classifier
    return x.mean((2, 3)) @ torch.from_numpy(head.weight).T + torch.from_numpy(head.bias)


def unpadded(model, pictures):
    """The network without its first padding, and the images that it reads then."""
    layers, border = read_pixels(layers_of(model))
    image = (
        bordered(QuantizedNetwork(layers=layers, weights={}, activations={}, border=border), pictures) / 255
    )
    first, *others = layers.convs
    return replace(layers, convs=(replace(first, padding=(0, 0)), *others)), image


def ranges_of(layers, x):
    found = []
    for conv in layers.convs:
        x = float_layer(conv, x)[1]
        found.append(x.amax((0, 2, 3)))
    return found


def reader_of(x, weight, **changes):
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


def test_the_function_stays_and_ranges_become_equal(small, pictures):
    layers, image = unpadded(small, pictures)
    before = ranges_of(layers, image)
    with torch.no_grad():
        equal = equalize(layers, choose_factors(layers, image, "minmax"))
    wanted = logits(layers, image)
    torch.testing.assert_close(logits(equal, image), wanted, rtol=0, atol=1e-4 * wanted.abs().max().item())
    after = ranges_of(equal, image)
    for index, conv in enumerate(layers.convs[1:]):
        if layers.convs[index].attention is not None:
            continue
        assert after[index].max() < 1.001
        if conv.is_depthwise:
            equal_channels = (after[index] > 0.5).double().mean()
            assert equal_channels > 0.9, (
                "but for silent ones a depthwise reader's inputs are equalised completely"
            )
    assert min(r.min() / r.max() for r in before) < 0.2, "before, they were not"


def spread_out():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 24, 8, 8, generator=generator).relu() * torch.logspace(-1, 1, 24)[:, None, None]
    return x, torch.randn(16, 24, generator=generator)


@pytest.mark.parametrize("cuts", [False, True])
def test_balancing_beats_leaving_alone_and_equalising_completely(cuts):
    reader = reader_of(*spread_out(), cuts=cuts)
    # Of a unit that makes the rounding of this layer count beside the noise that there is anyway.
    reader = replace(reader, importance=reader.importance * 100)
    whole = torch.full((24,), reader.ranges.max().item())
    chosen = balance(reader)
    noise = [reading_noise(factor, reader).item() for factor in (chosen, whole, reader.ranges)]
    assert noise[0] < min(noise[1:]) - 0.1, "a logarithm: a tenth less"
    if not cuts:
        assert (chosen >= 0.999 * reader.ranges).all()


def test_a_loud_photo_is_cut_off_where_it_would_cost_all_others():
    x, weight = spread_out()
    x = x.repeat(25, 1, 1, 1)
    x[0, :, 0, 0] *= 8
    reader = reader_of(x, weight, cuts=True)
    reader = replace(reader, importance=reader.importance * 100)
    assert (balance(reader) < 0.7 * reader.ranges).any()
    assert not (balance(replace(reader, cuts=False)) < 0.99 * reader.ranges).any()


def test_the_noise_formula_is_what_rounding_does():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(64, 24, 8, 8, generator=generator)
    weight = torch.randn(16, 24, generator=generator)
    rounded = (x * 255).round() / 255
    flat, read = (v.permute(1, 0, 2, 3).flatten(1) for v in (x, rounded))
    activations_alone = ((weight @ read - weight @ flat) ** 2).mean(1).sum().item()
    silent = reader_of(x, weight, power=torch.zeros(24))  # so that the weights' part is nothing
    np.testing.assert_allclose(rounding_noise(torch.ones(24), silent), activations_alone, rtol=0.1)


def test_the_cutting_formula_is_what_cutting_does():
    x, weight = spread_out()
    factor = 0.3 * x.amax((0, 2, 3))
    cut = x.minimum(factor[:, None, None])
    error = torch.einsum("oc,nchw->nohw", weight, x - cut)
    noise = cutting_noise(factor, reader_of(x, weight))
    torch.testing.assert_close(noise, error.square().mean((2, 3)).sum(1))


def test_sampled_positions_stand_for_all():
    x, weight = spread_out()
    ranges = x.amax((0, 2, 3))
    sample, share = sampled(x, ranges)
    assert share.sum().item() == pytest.approx(1)
    assert sample.shape == (24, 4 * len(share), 1)
    loudest = (x / ranges[:, None, None]).amax((1, 2, 3))
    torch.testing.assert_close((sample[..., 0] / ranges[:, None]).amax(0).view(4, -1).amax(1), loudest)
    # Nothing but the loudest positions is cut here, so the estimate is exact.
    reader = reader_of(x, weight)
    few = replace(reader, sample=sample, share=share)
    torch.testing.assert_close(
        cutting_noise(0.97 * ranges, few), cutting_noise(0.97 * ranges, reader), rtol=1e-3, atol=1e-6
    )


def test_effects_are_what_errors_do(small, pictures):
    """Small errors in one layer's sums move the logits as its effects say; another channel's would not."""
    layers, image = unpadded(small, pictures)
    with torch.no_grad():
        effects = output_effects(layers, image.repeat(8, 1, 1, 1))
        wanted = logits(layers, image)
        index, size = 3, 1e-3
        x = image
        for conv in layers.convs[:index]:
            x = float_layer(conv, x)[1]
        before = float_layer(layers.convs[index], x)[0]
        assert layers.convs[index].attention is None
        loudest = int(effects[index].argmax())
        generator = torch.Generator().manual_seed(0)
        got = []
        for _ in range(8):
            moved = before.clone()
            moved[:, loudest] += size * torch.randn(before[:, 0].shape, generator=generator)
            got.append(logits(replace(layers, convs=layers.convs[index + 1 :]), moved.relu()) - wanted)
    error = torch.stack(got)
    error = error - error.mean(2, keepdim=True)
    power = (wanted - wanted.mean(1, keepdim=True)).square().sum(1).mean()
    measured = (error.square().sum(2).mean() / power / size**2).item()
    assert effects[index][loudest].item() == pytest.approx(measured, rel=0.3)
    assert effects[index].median().item() < 0.5 * measured
