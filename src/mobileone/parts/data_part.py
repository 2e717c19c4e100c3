"""The parts that a set is divided into, by the data alone: a shard each, or so many files of a folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mobileone.data.hub_address import is_hub_data
from mobileone.data.hub_dataset import open_hub_images
from mobileone.data.named_files import named_files
from mobileone.data.shards.address import expand, index_address, is_remote, is_url
from mobileone.data.shards.bare_shard import BareShard
from mobileone.data.shards.shard_source import (
    Shards,
    folder_addresses,
    open_shards,
    read_index,
)
from mobileone.data.source import ImageSource
from mobileone.errors import ConfigError, DataError
from mobileone.images.any_image import AnyImage
from mobileone.outside_text import printable
from mobileone.variants import check_count

PART_SIZE = 1000
"""Images of a folder or a list in a part."""
MAX_STEM = 100  # characters of a part's name


@dataclass(frozen=True, slots=True, eq=False)
class PartImages:
    """The images of a part, opened.

    Attributes:
        names: of each in results.
        read: an image by its place.
        source: the labelled set that they are of, whole, where there is one; of shards the part's own.
        places: in the source, of each.
        labels: class names, where their folders tell.
    """

    names: Sequence[str]
    read: Callable[[int], AnyImage]
    source: ImageSource | None = None
    places: Sequence[int] = ()
    labels: Sequence[str | None] = ()

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True, eq=False)
class DataPart:
    """Images whose results are one file.

    Attributes:
        name: of the result, without suffix.
        where: the shard's address, or which images these are, for messages and to tell other data.
        open: gives the images. Raises DataError if they cannot be had.
        images: how many; None of a shard, where that is known when it is opened.
        names_hash: of their names in order, as `hash_of_names`; likewise.
        size_bytes: of a local shard that is there.
        is_remote: whether opening it takes a while.
    """

    name: str
    where: str
    open: Callable[[], PartImages] = field(repr=False)
    images: int | None = None
    names_hash: str | None = None
    size_bytes: int | None = None
    is_remote: bool = False

    def to_dict(self) -> dict[str, Any]:
        """What a manifest holds of it."""
        known = (self.images, self.names_hash, self.size_bytes)
        values = dict(zip(("images", "names_hash", "size_bytes"), known, strict=True))
        return {"name": self.name, "where": self.where} | {k: v for k, v in values.items() if v is not None}


def hash_of_names(names: Iterable[str]) -> str:
    """Of names in order, hexadecimal; a name is taken as it is printed.

    >>> hash_of_names(["a.jpg", "b.jpg"]) == hash_of_names(["b.jpg", "a.jpg"])
    False
    """
    digest = hashlib.sha256()
    for name in names:
        digest.update(printable(name).encode() + b"\n")
    return digest.hexdigest()


def named_parts(
    words: Sequence[str], *, part_size: int = PART_SIZE, on_note: Callable[[str], None] = lambda note: None
) -> list[DataPart]:
    """The parts of what is named: shards each one, with an index or without, and other images in order.

    Args:
        words: image files, folders, lists of images, shards in WebDataset's notation, data sets of the hub.
        part_size: images that are in no shard in a part.
        on_note: told of files that are no images.

    Raises:
        ConfigError: if nothing is named, or an image or shard twice.
        DataError: if there are no images in a folder, or a list cannot be read.
    """
    groups: list[tuple[str, list[str]]] = []
    for word in words:
        files = None if is_hub_data(word) else named_files(word, on_note=on_note)
        kind, items = "files", files or []
        if files is None:
            kind, items = ("hub", [word]) if is_hub_data(word) else ("shards", list(expand(word)))
        if groups and groups[-1][0] == kind != "hub":
            groups[-1][1].extend(items)
        else:
            groups.append((kind, items))
    _refuse_twice([item for _, items in groups for item in items])
    parts: list[DataPart] = []
    for kind, items in groups:
        if kind == "shards":
            parts += shard_parts(items)
        elif kind == "hub":
            parts += _hub_parts(items[0], part_size, on_note)
        else:
            parts += file_parts(items, part_size=part_size)
    if len(groups) > 1:  # of several groups names may be the same
        parts = [replace(part, name=f"{number:06d}-{part.name}") for number, part in enumerate(parts)]
    if not parts:
        raise ConfigError("there must be at least one image file, folder, list or shard")
    return parts


def _hub_parts(word: str, part_size: int, on_note: Callable[[str], None]) -> list[DataPart]:
    images = open_hub_images(word)
    for note in images.notes:
        on_note(note)
    names = [images.name(index) for index in range(len(images))]
    return file_parts(names, part_size=part_size, read=images.read)


def file_parts(
    names: Sequence[str],
    *,
    part_size: int = PART_SIZE,
    read: Callable[[int], AnyImage] | None = None,
    labels: Sequence[str | None] = (),
) -> list[DataPart]:
    """So many image files each, in order.

    Args:
        names: of the images, as results have them when they are made printable.
        part_size: images in a part.
        read: gives an image by its place; None where the names are paths.
        labels: class names, where known.
    """
    return _sliced(names, read or names.__getitem__, part_size, None, labels)


def source_parts(source: ImageSource, names: Sequence[str], *, part_size: int = PART_SIZE) -> list[DataPart]:
    """So many images of a labelled set each, in its order.

    Args:
        source: the set.
        names: of its images in results, no two alike.
        part_size: images in a part.
    """
    _refuse_twice(names)
    return _sliced(names, source.read, part_size, source, ())


def shard_parts(
    addresses: Sequence[str],
    *,
    classes: tuple[str, ...] | None = None,
    labelled: bool = False,
) -> list[DataPart]:
    """A part each. Nothing is opened: of a hundred thousand shards a process looks at its own.

    Args:
        addresses: paths, URLs and pipes.
        classes: that labels index into; None is the shard's own.
        labelled: whether a shard without an index, and so without labels, is an error.
    """
    stems = [_stem(address) for address in addresses]
    if len({stem.lower() for stem in stems}) < len(stems):
        stems = [f"{number:06d}-{stem}" for number, stem in enumerate(stems)]
    parts = []
    for name, address in zip(stems, addresses, strict=True):
        size = None
        if not is_remote(address) and os.path.isfile(address):
            size = os.path.getsize(address)

        parts.append(
            DataPart(
                name,
                shown_address(address),
                partial(_open_shard, address, classes, labelled),
                size_bytes=size,
                is_remote=is_remote(address),
            )
        )
    return parts


def named_shards(data: str) -> tuple[str, ...]:
    """The addresses that a pattern stands for, or of a folder of shards those of the validation part."""
    return folder_addresses(Path(data), "val") if os.path.isdir(data) else expand(data)


def shown_address(address: str) -> str:
    """As results and messages have it: without a URL's query, which may be a signature that changes.

    >>> shown_address("https://a.org/0.tar?sig=xyz")
    'https://a.org/0.tar'
    """
    return printable(address.partition("?")[0] if is_url(address) else address)


def _open_shard(address: str, classes: tuple[str, ...] | None, labelled: bool) -> PartImages:
    source: Shards | BareShard
    if labelled or _has_index(address):
        source = open_shards(_escaped(address), split="val", classes=classes)
        files: Sequence[str] = [source.files[index] for index in range(len(source))]
    else:
        source = BareShard(address)
        files = source.files
    names = [f"{shown_address(address)}: {printable(file)}" for file in files]
    labelled_source = source if isinstance(source, Shards) else None
    return PartImages(names, source.read, labelled_source, range(len(names)))


def _has_index(address: str) -> bool:
    if not is_remote(address):
        return os.path.exists(index_address(address))
    try:
        read_index(address)
    except DataError as error:
        # What is there and is no index is a mistake to be told, what is not there none.
        if "is not a shard's index" in str(error):
            raise
        return False
    return True


def _escaped(address: str) -> str:
    """One address, whatever is in its name, as something that is expanded to itself."""
    if "{" in address:
        raise DataError(f"{printable(address)}: a shard with braces in its name cannot be opened; rename it")
    return address


def _sliced(
    names: Sequence[str],
    read: Callable[[int], AnyImage],
    part_size: int,
    source: ImageSource | None,
    labels: Sequence[str | None],
) -> list[DataPart]:
    check_count(part_size, "part_size", least=1)

    def opener(start: int, own: Sequence[str]) -> Callable[[], PartImages]:
        places = range(start, start + len(own))
        return lambda: PartImages(
            own, lambda index: read(start + index), source, places, labels[start : start + len(own)]
        )

    parts = []
    for start in range(0, len(names), part_size):
        own = [printable(name) for name in names[start : start + part_size]]
        parts.append(
            DataPart(
                f"part-{start // part_size:06d}",
                f"images {start} to {start + len(own) - 1}",
                opener(start, own),
                images=len(own),
                names_hash=hash_of_names(own),
            )
        )
    return parts


def _stem(address: str) -> str:
    found: list[str] = re.findall(r"([^/\s]+)\.tar\b", address)
    return re.sub(r"[^\w.-]", "_", Path(found[-1]).name, flags=re.ASCII)[-MAX_STEM:].lstrip("._") or "shard"


def _refuse_twice(items: Sequence[str]) -> None:
    if len(set(items)) == len(items):
        return
    twice = next(item for item, count in Counter(items).items() if count > 1)
    raise ConfigError(f"{printable(twice)} is there twice; every image has one result, so name it once")
