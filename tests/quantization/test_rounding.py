"""Rounding whole rows is never worse than rounding to nearest where inputs are correlated."""

import itertools

import pytest
import torch

from mobileone.quantization.rounding import largest_weight, round_weights, weight_scales


def error(integers, scale, weight, hessian):
    difference = integers * scale[..., None] - weight
    return (difference @ hessian * difference).sum((1, 2))


def problem(batch, rows, k, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(batch, rows, k, generator=generator, dtype=torch.float64)
    inputs = torch.rand(batch, k, 4 * k, generator=generator, dtype=torch.float64)
    inputs += 2 * torch.rand(batch, 1, 4 * k, generator=generator, dtype=torch.float64)
    hessian = inputs @ inputs.transpose(1, 2) / (4 * k) + 1e-3 * torch.eye(k, dtype=torch.float64)
    return weight, hessian


def test_better_than_nearest():
    weight, hessian = problem(2, 32, 24)
    scale = weight.abs().amax(2) / 7  # coarse, so that rounding matters
    nearest = (weight / scale[..., None]).round()
    whole = round_weights(weight, scale, hessian)
    assert (error(whole, scale, weight, hessian) < 0.2 * error(nearest, scale, weight, hessian)).all()
    assert whole.abs().max() <= 127
    assert torch.equal(whole, whole.round())


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (7, 63)])
def test_the_largest_weight_is_that_of_the_bits(bits, largest):
    assert largest_weight(bits) == largest
    weight, hessian = problem(2, 32, 24)
    scale = weight_scales(weight, hessian, bits=bits)
    assert (scale <= weight.abs().amax(2) / largest).all()
    whole = round_weights(weight, scale, hessian, bits=bits)
    assert 0.9 * largest < whole.abs().max() <= largest
    cut = round_weights(weight, scale / 4, hessian, bits=bits)  # nearly all of them do not fit
    assert cut.abs().max() == largest


def test_two_products_of_seven_bits_fit_into_sixteen():
    assert 2 * 255 * largest_weight(7) < 2**15 <= 2 * 255 * largest_weight(8)


def test_near_the_best_there_is():
    """Against every combination of up and down, for a depthwise-like problem of five taps."""
    weight, hessian = problem(6, 1, 5, seed=1)
    scale = weight.abs().amax(2) / 3
    low = (weight / scale[..., None]).floor()
    tries = [
        error(low + torch.tensor(bits, dtype=torch.float64), scale, weight, hessian)
        for bits in itertools.product((0, 1), repeat=5)
    ]
    best = torch.stack(tries).min(0).values
    assert (error(round_weights(weight, scale, hessian), scale, weight, hessian) <= 1.5 * best + 1e-9).all()


def test_a_lone_outlier_is_cut_where_that_costs_less():
    weight = torch.full((1, 2, 64), 0.3, dtype=torch.float64)
    weight[0, 0, 0] = 1.0
    importance = torch.eye(64, dtype=torch.float64)[None].clone()
    full = weight.abs().amax(2) / 127
    assert torch.allclose(weight_scales(weight, importance)[0, 0], full[0, 0], rtol=0.35)
    importance[0, 0, 0] = 1e-9  # an input that is nearly always zero
    assert weight_scales(weight, importance)[0, 0] < full[0, 0]


def test_blocks_of_columns_round_as_single_columns_do(monkeypatch):
    """More inputs than a block has."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1, 150, 400, generator=generator, dtype=torch.float64)
    hessian = inputs @ inputs.transpose(1, 2) / 400 + torch.eye(150)
    weight = torch.randn(1, 6, 150, generator=generator, dtype=torch.float64)
    scale = weight_scales(weight, hessian)
    blocks = round_weights(weight, scale, hessian)
    monkeypatch.setattr("mobileone.quantization.rounding.BLOCK", 1)
    assert torch.equal(blocks, round_weights(weight, scale, hessian))
    monkeypatch.setattr("mobileone.quantization.rounding.SWEEPS", 0)
    assert not torch.equal(blocks, round_weights(weight, scale, hessian))
