"""The schedule against values worked out by hand."""

import math

import pytest

from mobileone.training.method.schedule import Schedule, cosine, scaled_lr


def schedule(**changes: float) -> Schedule:
    values = {"total_steps": 10, "warmup_steps": 0, "peak_lr": 0.1, "min_lr": 1e-4}
    return Schedule(**values | {"weight_decay": 1e-4, "weight_decay_end": 1e-5} | changes)


def test_cosine_at_its_ends_middle_and_thirds() -> None:
    assert cosine(3.0, 1.0, 0.0) == 3.0
    assert cosine(3.0, 1.0, 1 / 3) == pytest.approx(2.5)
    assert cosine(3.0, 1.0, 0.5) == pytest.approx(2.0)
    assert cosine(3.0, 1.0, 2 / 3) == pytest.approx(1.5)
    assert cosine(3.0, 1.0, 1.0) == pytest.approx(1.0)


def test_cosine_is_clamped_outside_the_run() -> None:
    assert cosine(3.0, 1.0, -1.0) == 3.0
    assert cosine(3.0, 1.0, 7.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("batch_size", "world_size", "expected"), [(256, 1, 0.1), (256, 8, 0.8), (32, 8, 0.1), (64, 1, 0.025)]
)
def test_the_peak_follows_the_images_a_step(batch_size: int, world_size: int, expected: float) -> None:
    assert scaled_lr(0.1, step_images=batch_size * world_size) == pytest.approx(expected)


def test_learning_rate_and_decay_share_the_cosine() -> None:
    s = schedule()
    assert s.lr(0) == 0.1
    assert s.decay(0) == 1e-4
    assert s.lr(5) == pytest.approx((0.1 + 1e-4) / 2)
    assert s.decay(5) == pytest.approx((1e-4 + 1e-5) / 2)
    near_end = (1 + math.cos(0.9 * math.pi)) / 2
    assert s.lr(9) == pytest.approx(1e-4 + (0.1 - 1e-4) * near_end)
    assert s.decay(9) == pytest.approx(1e-5 + 9e-5 * near_end)


def test_warm_up_rises_linearly_to_the_peak_and_leaves_the_decay_alone() -> None:
    s = schedule(warmup_steps=4)
    assert [s.lr(step) for step in range(5)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert {s.decay(step) for step in range(5)} == {1e-4}
    assert s.lr(7) == pytest.approx((0.1 + 1e-4) / 2)


def test_a_floor_above_the_peak_does_not_raise_the_rate() -> None:
    s = schedule(peak_lr=1e-5)
    assert [s.lr(step) for step in range(10)] == pytest.approx([1e-5] * 10)


@pytest.mark.parametrize("warmup_steps", [0, 1])
def test_a_run_of_one_step_is_finite(warmup_steps: int) -> None:
    s = schedule(total_steps=1, warmup_steps=warmup_steps)
    assert s.lr(0) == 0.1
    assert s.decay(0) == 1e-4


def test_the_whole_rate_lasts_until_the_fall_whatever_the_length() -> None:
    for total in (10, 20):
        s = schedule(total_steps=total, warmup_steps=2, cooldown_steps=4, min_lr=0.0)
        assert [s.lr(step) for step in range(3)] == pytest.approx([0.05, 0.1, 0.1])
        assert {s.lr(step) for step in range(1, total - 3)} == {0.1}
        assert s.decay(total - 4) == 1e-4
        falling = [s.lr(step) for step in range(total - 4, total)]
        assert falling == pytest.approx([0.1 * (1 - math.sqrt(part / 4)) for part in range(4)])
        assert s.decay(total - 3) == pytest.approx(1e-5 + 9e-5 * 0.5)
