"""What a run will still take. Imports no torch."""

from __future__ import annotations

from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.progress import EpochProgress


def seconds_left(
    config: TrainConfig,
    progress: EpochProgress,
    *,
    steps_per_epoch: int,
    step_seconds: float,
    size: int,
    test_seconds: float = 0.0,
) -> float:
    """Training and evaluations to come, if every pixel takes what it took.

    Args:
        config: of the run.
        progress: where it is.
        steps_per_epoch: optimizer steps.
        step_seconds: what a step took.
        size: side of that step's images, pixels.
        test_seconds: what an evaluation takes.

    >>> config = TrainConfig(epochs=3, eval_every=2)
    >>> progress = EpochProgress(epoch=1, steps=4)
    >>> seconds_left(config, progress, steps_per_epoch=5, step_seconds=1.0, size=112, test_seconds=100)
    224.0
    """

    def at_size(epoch: int) -> float:  # seconds a step
        return step_seconds * (config.images_at(epoch).size / size) ** 2

    epochs = range(progress.epoch, config.epochs)
    steps = sum(steps_per_epoch * at_size(epoch) for epoch in epochs)
    done = progress.steps * at_size(progress.epoch)
    tests = sum((epoch + 1) % config.eval_every == 0 or epoch + 1 == config.epochs for epoch in epochs)
    return steps - done + tests * test_seconds
