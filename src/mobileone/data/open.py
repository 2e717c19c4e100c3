"""The images behind a data argument, whatever kind of place it names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mobileone.data.digits import load_digits
from mobileone.data.folder import find_images
from mobileone.data.hub_address import is_hub_data, parse_hub_address
from mobileone.data.hub_dataset import hub_splits, open_hub_data
from mobileone.data.image_list import list_images
from mobileone.data.layout import splits_in
from mobileone.data.list_rows import is_list, read_rows
from mobileone.data.shards.address import is_shards
from mobileone.data.shards.shard_source import open_shards, shard_splits
from mobileone.data.source import ImageSource, labels_task
from mobileone.errors import DataError
from mobileone.outside_text import printable
from mobileone.task import Task


def open_data(
    data: str | Path,
    *,
    split: Literal["train", "val"],
    classes: tuple[str, ...] | None = None,
    task: Task | None = None,
) -> ImageSource:
    """The images behind a `data` argument: `"digits"`, a folder, a list, shards, or a data set of the hub.

    Args:
        data: `"digits"` (the built-in set; `"./digits"` is a folder of that name), a data folder, a list of
            images (.csv, .json or .jsonl, see `list_images`), or shards (a folder of them, or
            `DIR/train-{000000..000007}.tar`, a URL or a pipe likewise), or a data set of the Hugging Face hub
            or in its library's files, `hf:owner/name` or `hf:./folder` (see `open_hub_data`), read where it
            is with `?stream=true`.
        split: which part of a folder; shards, or a split of a hub's data set, that are named are taken,
            whatever they are for.
        classes: class names that the labels index into; None takes the folder's own, sorted.
        task: whether an image has one label or several; None takes what is there.

    Raises:
        DataError: if there are no such images, they have one label where several are wanted or the other way
            round, or a shard is missing or damaged.
        MissingExtraError: for the digits without scikit-learn, for the hub's data sets without datasets.
    """
    return _open(data, split, classes, task, beside=False)


def open_validation(
    data: str | Path,
    val_data: str | Path | None = None,
    *,
    classes: tuple[str, ...] | None = None,
    task: Task | None = None,
) -> ImageSource:
    """The validation images that go with training images.

    Args:
        data: where the training images are. Of shards that are named one by one, the validation shards of
            the same data set are taken, which lie beside them.
        val_data: where the validation images are, if not there.
        classes: as for `open_data`.
        task: likewise.

    Raises:
        DataError: as `open_data`.
        MissingExtraError: likewise.
    """
    if val_data is not None:
        return open_data(val_data, split="val", classes=classes, task=task)
    return _open(data, "val", classes, task, beside=True)


def _open(
    data: str | Path,
    split: Literal["train", "val"],
    classes: tuple[str, ...] | None,
    task: Task | None,
    *,
    beside: bool,
) -> ImageSource:
    if is_list(data):
        return list_images(data, split=split, classes=classes, task=task)
    source: ImageSource
    if data == "digits":
        source = load_digits(split)
    elif is_hub_data(data):
        source = open_hub_data(data, split=split, classes=classes, beside=beside)
    elif is_shards(data):
        source = open_shards(data, split=split, classes=classes, beside=beside)
    else:
        source = find_images(data, split=split, classes=classes)
    return require_task(source, task, name=str(data))


def splits_of(data: str | Path) -> set[str]:
    """Which splits a data set has, by the names that these are known by: none if it is not divided.

    Of a hub's data set or of shards of which a split is named it is that one; with training shards also the
    validation shards that their index knows of.

    Raises:
        DataError: if a list or a shard's index cannot be read, or there is no such data set.

    >>> splits_of("/nowhere")
    set()
    """
    if is_hub_data(data):
        return hub_splits(data)
    if is_list(data):
        return {row.split for row in read_rows(data)[0] if row.split is not None}
    if data == "digits":
        return {"train", "val"}
    if is_shards(data):
        return shard_splits(data)
    return set(splits_in(Path(data)))


def open_whole(data: str | Path, *, task: Task | None = None) -> ImageSource:
    """All images of a data set that is not divided yet: a folder of class folders, or a list without split.

    Raises:
        DataError: if there are no such images, they are divided already, or have another number of labels.
    """
    if is_list(data):
        return list_images(data, split=None, task=task)
    if data == "digits" or is_shards(data):
        raise DataError(f"{printable(data)} has its own validation images; leave split and folds out")
    if is_hub_data(data):
        if parse_hub_address(data).stream:
            raise DataError(
                f"{printable(data)} streams in an order of its own, so nothing of it can be held out; leave "
                "out stream=true, or split and folds, with validation images named as val_data"
            )
        return require_task(open_hub_data(data, split=None), task, name=str(data))
    return require_task(find_images(data, split=None), task, name=str(data))


def require_task(source: ImageSource, task: Task | None, *, name: str) -> ImageSource:
    """A source as it is, if its images have as many labels as wanted.

    Raises:
        DataError: if they do not.
    """
    found = labels_task(source.labels)
    if task == "multilabel" and found == "singlelabel":
        raise DataError(
            f"{printable(name)} has one label an image; for task=multilabel give a list of images with a "
            "column labels (.csv, .json or .jsonl), or shards made from one"
        )
    if task == "singlelabel" and found == "multilabel":
        raise DataError(f"{printable(name)} has several labels an image, so it needs task=multilabel")
    return source
