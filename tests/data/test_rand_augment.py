"""RandAugment and TrivialAugment: what is drawn, and how large."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from mobileone.data.operations import OPERATIONS, apply_operations
from mobileone.data.rand_augment import CHOICES, WIDE, RandAugment, TrivialAugment
from mobileone.errors import ConfigError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_fourteen_operations_are_the_papers():
    assert len(CHOICES) == len(set(CHOICES)) == 14
    assert set(OPERATIONS) - set(CHOICES) == {"invert"}


def test_rand_augment_draws_all_operations_at_one_magnitude_both_ways():
    source, seen, amounts = generator(), Counter(), set()
    policy = RandAugment(num_operations=3, magnitude=15, strength=0.5)
    for _ in range(3000):
        drawn = policy.draw(source)
        assert len(drawn) == 3
        seen.update(operation.name for operation in drawn)
        amounts |= {operation.amount for operation in drawn}
    assert amounts == {0.25, -0.25}
    assert all(abs(seen[name] / 9000 - 1 / 14) < 0.012 for name in CHOICES)


def test_trivial_augment_draws_one_operation_at_31_levels_of_the_wide_range():
    source, seen, largest = generator(), Counter(), Counter()
    levels = set()
    for _ in range(6000):
        (operation,) = TrivialAugment().draw(source)
        seen[operation.name] += 1
        largest[operation.name] = max(largest[operation.name], abs(operation.amount))
        if operation.name == "solarize":
            levels.add(round(abs(operation.amount) * 30))
    assert all(abs(seen[name] / 6000 - 1 / 14) < 0.015 for name in CHOICES)
    assert levels == set(range(31))
    assert {name: largest[name] for name in WIDE} == pytest.approx(WIDE)
    assert WIDE["rotate"] * 30 == pytest.approx(135)
    assert WIDE["translate_x"] * 150 / 331 * 224 == pytest.approx(32)


def test_the_strength_is_a_factor_and_draws_stay_the_same():
    for seed in range(50):
        (full,) = TrivialAugment().draw(generator(seed))
        (half,) = TrivialAugment(strength=0.5).draw(generator(seed))
        assert (half.name, half.amount) == (full.name, pytest.approx(full.amount / 2))


def test_the_widest_magnitudes_can_be_applied(picture):
    import numpy as np

    image = torch.from_numpy(np.array(picture(0, 24, 20))).permute(2, 0, 1)
    for seed in range(200):
        assert apply_operations(image, TrivialAugment().draw(generator(seed))).shape == image.shape


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandAugment(num_operations=0),
        lambda: RandAugment(magnitude=31),
        lambda: RandAugment(strength=0.0),
        lambda: TrivialAugment(strength=1.5),
    ],
)
def test_values_out_of_range_are_refused(make):
    with pytest.raises(ConfigError):
        make()
