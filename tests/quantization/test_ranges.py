"""Ranges of activations."""

import pytest
import torch

from mobileone.quantization.ranges import channel_stats, encoding_of, upper_ranges


def squared_error(x, top):
    rounded = (x / top * 255).round().clamp(0, 255) * top / 255
    return (rounded - x).square().mean().item()


def test_statistics_are_the_tensors():
    x = torch.rand(3, 5, 4, 4).mul(torch.arange(5)[:, None, None])
    stats = channel_stats(x, bins=64)
    flat = x.transpose(0, 1).flatten(1)
    torch.testing.assert_close(stats.maximum, flat.amax(1))
    torch.testing.assert_close(stats.mean_square, flat.square().mean(1))
    torch.testing.assert_close(stats.histogram.sum(1), torch.ones(5))
    assert stats.nonzero.tolist() == [0, 1, 1, 1, 1]


def test_mse_cuts_a_long_tail_and_beats_the_others():
    x = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0)).relu()
    x[0, 0, 0, 0] = 40.0
    stats = channel_stats(x)
    tops = {rule: upper_ranges(stats, rule).item() for rule in ("minmax", "percentile", "mse")}
    assert tops["minmax"] == 40
    assert tops["percentile"] < 5
    x[0, 0, 0, 0] = 4.5
    stats = channel_stats(x)
    best = min(squared_error(x, float(top)) for top in torch.linspace(1, 4.5, 71))
    assert squared_error(x, upper_ranges(stats).item()) < 1.1 * best


def test_a_silent_channel_keeps_some_room():
    x = torch.ones(1, 3, 2, 2)
    x[:, 1] = 0
    assert upper_ranges(channel_stats(x), "minmax").tolist() == pytest.approx([1, 0.01, 1])


@pytest.mark.parametrize(("low", "high"), [(-3.0, 1.0), (0.0, 2.0), (-1.0, 0.0), (0.5, 2.0)])
def test_zero_is_exact_and_both_ends_are_reached(low, high):
    encoding = encoding_of(torch.tensor([low, high]))
    assert -128 <= encoding.zero_point <= 127
    lowest, highest = (encoding.step * (end - encoding.zero_point) for end in (-128, 127))
    assert lowest <= min(low, 0) + encoding.step
    assert highest >= max(high, 0) - encoding.step
