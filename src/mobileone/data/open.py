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
        split: which part.
        classes: class names that the labels index into; None takes the folder's own, sorted.

    Raises:
        DataError: if there are no such images, or a shard is missing or damaged.
        MissingExtraError: for the digits without scikit-learn.
    """
    if data == "digits":
        return load_digits(split)
    if is_shards(data):
        return open_shards(data, split=split, classes=classes)
    return find_images(data, split=split, classes=classes)
