"""The images behind a data argument, whatever kind of place it names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mobileone.data.digits import load_digits
from mobileone.data.folder import find_images
from mobileone.data.shards.address import is_shards
from mobileone.data.shards.shard_source import open_shards
from mobileone.data.source import ImageSource


def open_data(
    data: str | Path, *, split: Literal["train", "val"], classes: tuple[str, ...] | None = None
) -> ImageSource:
    """The images behind a `data` argument: `"digits"`, a folder, or shards.

    Args:
        data: `"digits"` (the built-in set; `"./digits"` is a folder of that name), a data folder, or shards
            (a folder of them, or `DIR/train-{000000..000007}.tar`, a URL or a pipe likewise).
        split: which part of a folder; shards that are named are taken, whatever they are for.
        classes: class names that the labels index into; None takes the folder's own, sorted.

    Raises:
        DataError: if there are no such images, or a shard is missing or damaged.
        MissingExtraError: for the digits without scikit-learn.
    """
    return _open(data, split, classes, beside=False)


def open_validation(
    data: str | Path, val_data: str | Path | None = None, *, classes: tuple[str, ...] | None = None
) -> ImageSource:
    """The validation images that go with training images.

    Args:
        data: where the training images are. Of shards that are named one by one, the validation shards of
            the same data set are taken, which lie beside them.
        val_data: where the validation images are, if not there.
        classes: as for `open_data`.

    Raises:
        DataError: as `open_data`.
        MissingExtraError: likewise.
    """
    if val_data is not None:
        return open_data(val_data, split="val", classes=classes)
    return _open(data, "val", classes, beside=True)


def _open(
    data: str | Path, split: Literal["train", "val"], classes: tuple[str, ...] | None, *, beside: bool
) -> ImageSource:
    if data == "digits":
        return load_digits(split)
    if is_shards(data):
        return open_shards(data, split=split, classes=classes, beside=beside)
    return find_images(data, split=split, classes=classes)
