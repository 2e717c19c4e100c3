"""Equalising changes no function, and makes ranges equal where that is free."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mobileone.quantization.equalize import (
    balance,
    cutting_noise,
    equalize,
    reading_noise,
    rounding_noise,
)
from mobileone.quantization.factors import choose_factors
from mobileone.quantization.simulate import float_layer


def ranges_of(layers, x):
    found = []
    for conv in layers.convs:
        x = float_layer(conv, x)[1]
        found.append(x.amax((0, 2, 3)))
    return found


def test_the_function_stays_and_ranges_become_equal(unpadded, layer_logits):
    layers, image = unpadded
    before = ranges_of(layers, image)
    with torch.no_grad():
        equal = equalize(layers, choose_factors(layers, image, "minmax"))
    wanted = layer_logits(layers, image)
    torch.testing.assert_close(
        layer_logits(equal, image), wanted, rtol=0, atol=1e-4 * wanted.abs().max().item()
    )
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


@pytest.mark.parametrize("cuts", [False, True])
def test_balancing_beats_leaving_alone_and_equalising_completely(cuts, spread_out, reader_of):
    reader = reader_of(*spread_out, cuts=cuts)
    # Of a unit that makes the rounding of this layer count beside the noise that there is anyway.
    reader = replace(reader, importance=reader.importance * 100)
    whole = torch.full((24,), reader.ranges.max().item())
    chosen = balance(reader)
    noise = [reading_noise(factor, reader).item() for factor in (chosen, whole, reader.ranges)]
    assert noise[0] < min(noise[1:]) - 0.1, "a logarithm: a tenth less"
    if not cuts:
        assert (chosen >= 0.999 * reader.ranges).all()


def test_a_loud_photo_is_cut_off_where_it_would_cost_all_others(spread_out, reader_of):
    x, weight = spread_out
    x = x.repeat(25, 1, 1, 1)
    x[0, :, 0, 0] *= 8
    reader = reader_of(x, weight, cuts=True)
    reader = replace(reader, importance=reader.importance * 100)
    assert (balance(reader) < 0.7 * reader.ranges).any()
    assert not (balance(replace(reader, cuts=False)) < 0.99 * reader.ranges).any()


def test_the_noise_formula_is_what_rounding_does(reader_of):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(64, 24, 8, 8, generator=generator)
    weight = torch.randn(16, 24, generator=generator)
    rounded = (x * 255).round() / 255
    flat, read = (v.permute(1, 0, 2, 3).flatten(1) for v in (x, rounded))
    activations_alone = ((weight @ read - weight @ flat) ** 2).mean(1).sum().item()
    silent = reader_of(x, weight, power=torch.zeros(24))  # so that the weights' part is nothing
    np.testing.assert_allclose(rounding_noise(torch.ones(24), silent), activations_alone, rtol=0.1)


def test_the_cutting_formula_is_what_cutting_does(spread_out, reader_of):
    x, weight = spread_out
    factor = 0.3 * x.amax((0, 2, 3))
    cut = x.minimum(factor[:, None, None])
    error = torch.einsum("oc,nchw->nohw", weight, x - cut)
    noise = cutting_noise(factor, reader_of(x, weight))
    torch.testing.assert_close(noise, error.square().mean((2, 3)).sum(1))
