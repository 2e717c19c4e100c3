"""The training transform that a configuration means, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable

from mobileone.data.augment import TrainTransform
from mobileone.train.config import TrainConfig


def transform_at(config: TrainConfig) -> Callable[[int], TrainTransform]:
    """A function from the epoch, 0 for the first, to the transform of its images.

    >>> transform_at(TrainConfig())(0).size
    224
    """

    def at_epoch(epoch: int) -> TrainTransform:
        phase = config.phase_at(epoch)
        return TrainTransform(
            size=phase.size,
            interpolation=config.interpolation,
            flip=config.flip,
            scale=config.crop_scale,
            ratio=config.crop_ratio,
            auto_augment=phase.auto_augment,
        )

    return at_epoch
