"""Indexes for shards that something else wrote."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mobileone.atomic import atomic_path
from mobileone.data.layout import Split
from mobileone.data.pool import in_processes
from mobileone.data.shards.address import index_address
from mobileone.data.shards.tar import index_tar, samples
from mobileone.data.shards.verify_shards import local_shards
from mobileone.errors import ConfigError, DataError
from mobileone.outside_text import printable
from mobileone.regular_file import open_regular, read_json

CLASSES_NAME = "classes.json"


def index_shards(
    data: str,
    *,
    split: Split | None = None,
    num_workers: int | None = None,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write the indexes of local WebDataset shards that something else wrote: `KEY.jpg` and `KEY.cls`.

    Class names come from a list in classes.json beside the shards; without one they are "0", "1", …

    Args:
        data: pattern of the shards of one split, all of them.
        split: which; None takes it from their names, which then begin with train or val.
        num_workers: processes; 0 works in this one, None takes one for every core.
        on_shard: told after every shard how many are done, of how many.

    Returns:
        The number of images.

    Raises:
        ConfigError: if an index is there already, or the split cannot be told.
        DataError: if a shard is no tar file of labelled images.
    """
    paths = local_shards(data)
    split = split or _split_of(paths[0])
    there = next((path for path in paths if Path(index_address(str(path))).exists()), None)
    if there:
        raise ConfigError(f"{index_address(str(there))} is there already; remove it to write it anew")
    found = list(in_processes(_samples, paths, num_workers=num_workers))
    classes = _class_names(paths[0].parent / CLASSES_NAME, highest=max(label for _, label in found))
    first_ids = [sum(count for count, _ in found[:number]) for number in range(len(paths))]
    work = partial(_index, split=split, classes=classes)
    tasks = list(zip(range(len(paths)), paths, first_ids, strict=True))
    for done, _ in enumerate(in_processes(work, tasks, num_workers=num_workers), start=1):
        on_shard(done, len(paths))
    return sum(count for count, _ in found)


def _samples(path: Path) -> tuple[int, int]:
    """Number of images, and the highest label."""
    try:
        with open_regular(path) as file:
            found = samples(file, printable(path))
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror or error})") from None
    return len(found), max(sample.label for sample in found if isinstance(sample.label, int))


def _index(task: tuple[int, Path, int], *, split: Split, classes: tuple[str, ...]) -> None:
    number, path, first_id = task
    index = index_tar(path, split=split, number=number, classes=classes, first_id=first_id)
    with atomic_path(index_address(str(path))) as temporary:
        temporary.write_text(index.to_json(), encoding="utf-8")


def _split_of(path: Path) -> Split:
    if match := re.match(r"(train|val)", path.name):
        return "train" if match[1] == "train" else "val"
    raise ConfigError(
        f"{path.name} does not say whether it is for training or validation; give the split, train or val"
    )


def _class_names(path: Path, *, highest: int) -> tuple[str, ...]:
    if not path.exists():
        return tuple(str(label) for label in range(highest + 1))
    try:
        names = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a JSON list of class names: {error}") from None
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) < len(names)
    ):
        raise DataError(f"{path} must be a JSON list of different class names")
    return tuple(names)
