"""The images that a configuration names."""

from __future__ import annotations

from mobileone.evaluation.evaluate import open_data
from mobileone.images.decode import ImageSource
from mobileone.training.config.train_config import TrainConfig


def open_train_set(config: TrainConfig) -> ImageSource:
    """Training images.

    Raises:
        DataError: if there are none.
    """
    return open_data(config.data, split="train")


def open_val_set(config: TrainConfig, *, classes: tuple[str, ...] | None) -> ImageSource:
    """Validation images.

    Args:
        config: names them.
        classes: what the labels index into: those of the training images, or of a trained network.

    Raises:
        DataError: if there are none, or they have a class that is not among these.
    """
    return open_data(config.val_data or config.data, split="val", classes=classes)
