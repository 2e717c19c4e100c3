"""What a run still takes, and how people say it."""

import dataclasses

from mobileone.training.config.augmentation import Phase
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.watch.time_left import duration, seconds_left


def test_what_is_left_counts_pixels_and_evaluations(config: TrainConfig) -> None:
    config = dataclasses.replace(
        config, epochs=4, eval_every=2, progressive=(Phase(until=0.5, size=16),)
    )  # 3 steps an epoch; 2 epochs of 16 px, 2 of 32 px

    def left(epoch: int, steps: int, step_seconds: float, size: int, test_seconds: float = 0.0) -> float:
        return seconds_left(
            config,
            epoch=epoch,
            steps=steps,
            steps_per_epoch=3,
            step_seconds=step_seconds,
            size=size,
            test_seconds=test_seconds,
        )

    assert left(0, 1, 1.0, 16) == 2 + 3 + 3 * 4 + 3 * 4
    assert left(0, 1, 1.0, 16, test_seconds=100.0) == 29 + 200
    assert left(2, 0, 4.0, 32, test_seconds=100.0) == 6 * 4 + 100
    assert left(2, 0, 1.0, 16, test_seconds=100.0) == 6 * 4 + 100
    assert left(3, 3, 4.0, 32) == 0


def test_durations_round_to_what_people_say() -> None:
    assert [duration(s) for s in (0.4, 59.4, 90, 3599, 3600, 86_400)] == [
        "0 s",
        "59 s",
        "2 min",
        "1 h 00 min",
        "1 h 00 min",
        "1 d 0 h",
    ]
