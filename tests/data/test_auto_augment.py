"""AutoAugment's ImageNet policy."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from mobileone.data.auto_augment import POLICY, AutoAugment, draw_operations
from mobileone.data.operations import OPERATIONS, Operation, apply_operations
from mobileone.errors import ConfigError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def ramp():
    """Every grey value once, 16 × 16."""
    return torch.arange(256, dtype=torch.uint8).view(1, 16, 16).repeat(3, 1, 1)


def apply_one(image, name, amount):
    return apply_operations(image, (Operation(name, amount),))


def test_the_policy_is_the_papers():
    """25 pairs; the counts and sums pin the table."""
    assert len(POLICY) == 25
    names = Counter(name for pair in POLICY for name, _, _ in pair)
    assert names == {
        "equalize": 17, "solarize": 7, "rotate": 6, "posterize": 5, "color": 6,
        "invert": 3, "auto_contrast": 2, "contrast": 2, "sharpness": 1, "shear_x": 1,
    }  # fmt: skip
    assert set(names) < set(OPERATIONS)
    drawn = AutoAugment().draw(generator())
    assert drawn == draw_operations(1.0, generator=generator())
    steps = [step for pair in POLICY for step in pair]
    assert sum(chance for _, chance, _ in steps) == pytest.approx(31.0)
    assert sum(level for _, _, level in steps) == 287
    assert POLICY[0] == (("posterize", 0.4, 8), ("rotate", 0.6, 9))
    assert all(0 <= level <= 9 and 0 <= chance <= 1 for pair in POLICY for _, chance, level in pair)


def test_draws_follow_the_policy():
    source = generator(0)
    seen = Counter()
    signs = []
    draws = 20_000
    for _ in range(draws):
        for operation in draw_operations(1.0, generator=source):
            seen[operation.name] += 1
            if operation.name == "rotate":
                signs.append(np.sign(operation.amount))
    for name in {name for pair in POLICY for name, _, _ in pair}:
        expected = sum(chance for pair in POLICY for other, chance, _ in pair if other == name) / 25
        assert abs(seen[name] / draws - expected) < 0.015, name
    assert abs(np.mean(signs)) < 0.05


def test_strength_scales_the_magnitudes_only():
    for seed in range(200):
        strong = draw_operations(1.0, generator=generator(seed))
        weak = draw_operations(0.3, generator=generator(seed))
        assert [op.name for op in strong] == [op.name for op in weak]
        for one, other in zip(strong, weak, strict=True):
            assert other.amount == pytest.approx(0.3 * one.amount)
    for strength in (0.0, -1.0, 1.5):
        with pytest.raises(ConfigError, match="strength"):
            draw_operations(strength, generator=generator())


def test_a_fixed_number_of_draws():
    after = set()
    for seed in range(5):
        source = generator(seed)
        draw_operations(0.7, generator=source)
        twin = generator(seed)
        torch.rand(5, dtype=torch.float64, generator=twin)
        after.add(torch.rand(1, generator=source).item() == torch.rand(1, generator=twin).item())
    assert after == {True}
