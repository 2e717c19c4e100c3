"""The training transform that a configuration means, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable

from mobileone.data.augment import Policy, TrainTransform
from mobileone.data.auto_augment import AutoAugment
from mobileone.data.rand_augment import RandAugment, TrivialAugment
from mobileone.training.config.augmentation import Augment
from mobileone.training.config.train_config import TrainConfig


def transform_at(config: TrainConfig) -> Callable[[int], TrainTransform]:
    """A function from the epoch, 0 for the first, to the transform of its images.

    >>> transform_at(TrainConfig())(0).size
    224
    """

    def at_epoch(epoch: int) -> TrainTransform:
        images = config.images_at(epoch)
        return TrainTransform(
            size=images.size,
            interpolation=config.augment.interpolation,
            flip=config.augment.flip,
            scale=config.augment.crop_scale,
            ratio=config.augment.crop_ratio,
            policy=policy_of(config.augment, factor=images.strength),
            erasing=config.augment.erasing,
            exif=config.input_spec.exif,
            fit=config.input_spec.fit,
            border=config.input_spec.border,
        )

    return at_epoch


def policy_of(augment: Augment, *, factor: float) -> Policy | None:
    """The augmentation policy at a phase's strength; None is none."""
    strength = augment.strength * factor
    match augment.policy:
        case "auto":
            return AutoAugment(strength)
        case "rand":
            return RandAugment(
                num_operations=augment.num_operations, magnitude=augment.magnitude, strength=strength
            )
        case "trivial":
            return TrivialAugment(strength=strength)
        case "none":
            return None
