"""What a run will still take. Imports no torch."""

from __future__ import annotations

import math

from mobileone.input_spec import Size, sides
from mobileone.training.config.train_config import TrainConfig


def seconds_left(
    config: TrainConfig,
    *,
    epoch: int,
    steps: int,
    steps_per_epoch: int,
    step_seconds: float,
    size: Size,
    test_seconds: float = 0.0,
) -> float:
    """Training and evaluations to come, if every pixel takes what it took.

    Args:
        config: of the run.
        epoch: that is under way, 0 for the first.
        steps: of it that are over.
        steps_per_epoch: optimizer steps.
        step_seconds: what a step took.
        size: of that step's images, pixels.
        test_seconds: what an evaluation takes.

    >>> config = TrainConfig(epochs=3, eval_every=2)
    >>> seconds_left(
    ...     config, epoch=1, steps=4, steps_per_epoch=5, step_seconds=1.0, size=112, test_seconds=100
    ... )
    224.0
    """

    def at_size(epoch: int) -> float:  # seconds a step
        return step_seconds * math.prod(sides(config.images_at(epoch).size)) / math.prod(sides(size))

    epochs = range(epoch, config.epochs)
    training = sum(steps_per_epoch * at_size(each) for each in epochs) - steps * at_size(epoch)
    return training + test_seconds * sum(config.is_tested(each) for each in epochs)


def duration(seconds: float) -> str:
    """Wall time for people.

    >>> duration(59), duration(600), duration(5000), duration(300_000)
    ('59 s', '10 min', '1 h 23 min', '3 d 11 h')
    """
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60:02} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
