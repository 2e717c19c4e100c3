"""The two sets of a run: what it learns from, and what it is measured on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mobileone.data.open import open_data, open_validation, open_whole
from mobileone.data.source import ImageSource, label_counts, notes_of
from mobileone.data.split_record import RECORD_NAME, recorded_sides
from mobileone.data.splitting import groups_of, hold_out_sides
from mobileone.data.subset import Subset, leave_out
from mobileone.errors import ConfigError
from mobileone.evaluation.label_metrics import require_scikit_learn
from mobileone.evaluation.metric_names import kind_and_class
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.train_config import TrainConfig


class Division(NamedTuple):
    """A set that was divided for a run, which of its images are for validation, bool (N,), and how it was."""

    whole: ImageSource
    is_val: NDArray[np.bool_]
    notes: tuple[str, ...]


class RunSets(NamedTuple):
    """What a run learns from, what it is measured on, and how these were divided, if they were."""

    train: ImageSource
    val: ImageSource
    division: Division | None


def open_sets(config: TrainConfig, *, dist: Distributed | None = None, record: Path | None = None) -> RunSets:
    """Training and validation images, as a configuration says.

    Args:
        config: of the run.
        dist: the ranks; the main one divides for all. None is this process alone.
        record: what an earlier start of the run held out, if it is there; it is kept to.

    Raises:
        DataError: if they cannot be used.
        ConfigError: if the best epoch is to be chosen by a class that there is not, or not in the validation
            images; or if no fold is named.
        MissingExtraError: for several labels an image, and to hold images out, without scikit-learn.
    """
    if config.task == "multilabel":
        require_scikit_learn()
    if config.hold_out.is_on:
        sets = _divided(config, dist or Distributed(), record)
    else:
        train_set = open_data(config.data, split="train", task=config.task)
        classes = tuple(train_set.classes)
        val_set = open_validation(config.data, config.val_data, classes=classes, task=config.task)
        if config.exclude is not None:
            train_set, val_set = leave_out(config.exclude, train_set, val_set)
        sets = RunSets(train_set, val_set, None)
    _check_selection(config, sets.val)
    return sets


def _divided(config: TrainConfig, dist: Distributed, record: Path | None) -> RunSets:
    hold_out = config.hold_out
    if hold_out.folds and not hold_out.fold:
        raise ConfigError(f"folds={hold_out.folds} without fold is several runs; set fold, or call fit_folds")
    whole = open_whole(config.data, task=config.task)
    if config.exclude is not None:
        (whole,) = leave_out(config.exclude, whole)
    if record is not None and record.is_file():
        is_val = dist.from_main(lambda: recorded_sides(record, whole, groups=groups_of(whole)))
        said: tuple[str, ...] = ()
    else:
        is_val, said = dist.from_main(
            lambda: hold_out_sides(
                whole,
                share=hold_out.share,
                folds=hold_out.folds,
                fold=hold_out.fold,
                by=hold_out.by,
                seed=hold_out.seed,
                num_workers=config.loading.num_workers,
            )
        )
    train_set = Subset(whole, np.flatnonzero(~is_val), notes_of(whole))
    # The same for a run that is gone on with, whose results have the notes of its validation images.
    line = f"{RECORD_NAME}: {int(is_val.sum())} of {len(whole)} images are for validation"
    val_set = Subset(whole, np.flatnonzero(is_val), (line,))
    return RunSets(train_set, val_set, Division(whole, is_val, said))


def _check_selection(config: TrainConfig, val_set: ImageSource) -> None:
    _, name = kind_and_class(config.select)
    if name is None:
        return
    classes = tuple(val_set.classes)
    if name not in classes:
        raise ConfigError(f"select={config.select} names no class of the data ({classes[0]} … {classes[-1]})")
    if not label_counts(val_set.labels, len(classes))[classes.index(name)]:
        raise ConfigError(f"select={config.select}: no validation image is of that class")
