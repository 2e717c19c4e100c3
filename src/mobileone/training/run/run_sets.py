"""The two sets of a run: what it learns from, and what it is measured on."""

from __future__ import annotations

from mobileone.data.open import open_data, open_validation
from mobileone.data.source import ImageSource, label_counts
from mobileone.data.subset import leave_out
from mobileone.errors import ConfigError
from mobileone.evaluation.label_metrics import require_scikit_learn
from mobileone.evaluation.metric_names import kind_and_class
from mobileone.training.config.train_config import TrainConfig


def open_sets(config: TrainConfig) -> tuple[ImageSource, ImageSource]:
    """Training and validation images, as a configuration says.

    Raises:
        DataError: if they cannot be used.
        ConfigError: if the best epoch is to be chosen by a class that there is not, or not in the validation
            images.
        MissingExtraError: with several labels an image, without scikit-learn.
    """
    if config.task == "multilabel":
        require_scikit_learn()
    train_set = open_data(config.data, split="train", task=config.task)
    classes = tuple(train_set.classes)
    val_set = open_validation(config.data, config.val_data, classes=classes, task=config.task)
    if config.exclude is not None:
        train_set, val_set = leave_out(config.exclude, train_set, val_set)
    _check_selection(config, val_set)
    return train_set, val_set


def _check_selection(config: TrainConfig, val_set: ImageSource) -> None:
    _, name = kind_and_class(config.select)
    if name is None:
        return
    classes = tuple(val_set.classes)
    if name not in classes:
        raise ConfigError(f"select={config.select} names no class of the data ({classes[0]} … {classes[-1]})")
    if not label_counts(val_set.labels, len(classes))[classes.index(name)]:
        raise ConfigError(f"select={config.select}: no validation image is of that class")
