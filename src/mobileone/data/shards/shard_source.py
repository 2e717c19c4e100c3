"""A data set in shards as an `ImageSource`: any image by its number, whatever shard it lies in.

Local shards are read in any order, so epochs are those of the folder they were made from, to the last bit.
Shards behind URLs and pipes are fetched whole, into a cache of bounded size (cache.py), and their epochs are
shuffled so that few of them are in use at a time (`lane_order`). Both are deterministic, and go
on in the middle of an epoch, by the same rule: the order is a function of seed and epoch, the position is one
number.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobileone.data.folder import PackedNames
from mobileone.data.layout import Split
from mobileone.data.shards.address import (
    expand,
    index_address,
    is_remote,
    shard_name,
    split_addresses,
)
from mobileone.data.shards.index import ShardIndex
from mobileone.data.shards.remote import open_remote, patiently
from mobileone.data.shards.shard_cache import RemoteShard, ShardCache
from mobileone.data.source import Labels
from mobileone.errors import DataError
from mobileone.images.decode import EncodedImage
from mobileone.limits import JSON_BYTES
from mobileone.outside_text import printable
from mobileone.regular_file import read_regular, regular_descriptor

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OPEN_FILES = 128
INDEX_THREADS = 16
LANES = 64
"""Shards of a remote data set that are read side by side, over all ranks."""


class Shards:
    """Labelled images in local tar files, with their indexes; made by `open_shards`.

    Images are in the order of the folder that the shards were made from.

    Attributes:
        addresses: of the shards.
        split: what they are for, by their indexes.
        classes: class names, which the labels index into.
        labels: class index of every image, int64 (num_images,), or with several labels an image whether it
            has each, bool (num_images, num_classes).
        files: path of every image in the folder that the shards were made from.
    """

    def __init__(
        self, addresses: Sequence[str], indexes: Sequence[ShardIndex], *, classes: Sequence[str] | None = None
    ) -> None:
        self.addresses, self.split = tuple(addresses), indexes[0].split
        self.classes, self.labels = _labels(addresses, indexes, classes)
        ids = np.concatenate([np.array(index.ids, dtype=np.int64) for index in indexes])
        lengths = [len(index) for index in indexes]
        shard = np.repeat(np.arange(len(indexes)), lengths)
        order = np.argsort(ids, kind="stable")
        twice = np.flatnonzero(np.diff(ids[order]) == 0)
        if len(twice):
            one, other = (addresses[shard[order[i]]] for i in (twice[0], twice[0] + 1))
            raise DataError(
                f"{one} and {other} hold the same images, or are of two data sets; give one of them"
            )
        self.labels, self._shard = self.labels[order], shard[order]
        self._offsets = np.concatenate([np.array(index.offsets, dtype=np.int64) for index in indexes])[order]
        self._sizes = np.concatenate([np.array(index.sizes, dtype=np.int64) for index in indexes])[order]
        names = [name for index in indexes for name in index.names]
        self.files = PackedNames.pack(names[i] for i in order)
        self._open_files: OrderedDict[int, int] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, object]:
        # Every process opens its own.
        return {name: value for name, value in self.__dict__.items() if name not in ("_open_files", "_lock")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _open_files=OrderedDict(), _lock=Lock())

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """The shard's address and the image's own path: `out/train-000003.tar: cat/7.jpg`."""
        return f"{printable(self.addresses[self._shard[index]])}: {printable(self.files[index])}"

    def read(self, index: int) -> EncodedImage:
        """Content of an image.

        Raises:
            DataError: if its shard cannot be read, or is not the one of its index.
        """
        shard, size = int(self._shard[index]), int(self._sizes[index])
        try:
            data = os.pread(self._open(shard), size, int(self._offsets[index]))
        except OSError as error:
            raise DataError(f"{self.name(index)}: cannot be read ({error.strerror or error})") from None
        if len(data) != size:
            raise DataError(f"{self.name(index)}: the shard ends before it; it was changed since the start")
        return EncodedImage(self.name(index), data)

    def _open(self, shard: int) -> int:
        """File descriptor of a shard; this process keeps the last ones used open."""
        with self._lock:
            if shard in self._open_files:
                self._open_files.move_to_end(shard)
                return self._open_files[shard]
        descriptor = self._open_file(shard)  # without the lock: it may be fetched first
        with self._lock:
            kept = self._open_files.setdefault(shard, descriptor)
            if kept != descriptor:  # another thread opened it meanwhile
                os.close(descriptor)
            if len(self._open_files) > OPEN_FILES:
                os.close(self._open_files.popitem(last=False)[1])
            return kept

    def _open_file(self, shard: int) -> int:
        return regular_descriptor(self.addresses[shard])

    def __del__(self) -> None:
        for descriptor in getattr(self, "_open_files", {}).values():
            os.close(descriptor)


class RemoteShards(Shards):
    """Labelled images in shards behind URLs and pipes; a `StreamedSource`."""

    def __init__(
        self,
        addresses: Sequence[str],
        indexes: Sequence[ShardIndex],
        *,
        classes: Sequence[str] | None = None,
        cache: ShardCache | None = None,
    ) -> None:
        super().__init__(addresses, indexes, classes=classes)
        self._remote = [
            RemoteShard(address, index.tar_bytes, index.tar_sha256)
            for address, index in zip(addresses, indexes, strict=True)
        ]
        self._cache = cache or ShardCache()

    def _open_file(self, shard: int) -> int:
        return self._cache.open(self._remote[shard])

    def epoch_order(self, generator: torch.Generator) -> Tensor:
        """Every image once, int64 (num_images,), as `lane_order`."""
        return lane_order(self._shard, len(self.addresses), generator)

    def expect(self, indices: Sequence[int]) -> None:
        """Begin to fetch the shards of images that will be read soon."""
        self._cache.expect(
            self._remote[shard] for shard in dict.fromkeys(self._shard[list(indices)].tolist())
        )


def lane_order(shard: NDArray[np.int64], num_shards: int, generator: torch.Generator) -> Tensor:
    """Every image once, shuffled so that few shards are in use at a time; int64 (num_images,).

    The shards are put in random order, the images of each one too, and the whole is cut into up to 64 lanes
    of equal length; the order takes one image of each lane in turn. So images of 64 shards are mixed, and a
    rank that takes every n-th image, n a divisor of 64, reads lanes of its own. The order itself does not
    depend on the ranks.

    Args:
        shard: number of the shard that each image lies in, (num_images,).
        num_shards: of all of them.
        generator: whose state alone decides.
    """
    import torch  # only training shuffles, and it has torch

    images = np.argsort(shard, kind="stable")
    ends = np.cumsum(np.bincount(shard, minlength=num_shards))
    parts = []
    for each in torch.randperm(len(ends), generator=generator).tolist():
        own = torch.from_numpy(images[(ends[each - 1] if each else 0) : ends[each]])
        parts.append(own[torch.randperm(len(own), generator=generator)])
    order = torch.cat(parts)
    lanes = min(LANES, len(ends))
    even = len(order) // lanes * lanes
    return torch.cat([order[:even].view(lanes, -1).T.reshape(-1), order[even:]])


def open_shards(
    data: str | Path, *, split: Split, classes: Sequence[str] | None = None, beside: bool = False
) -> Shards:
    """The images of one split of a data set in shards.

    Args:
        data: a folder that `mobileone shard` wrote; or shards in WebDataset's notation, of any split:
            `DIR/train-{000000..000007}.tar`, `https://…/train-{000000..000007}.tar`, `pipe:cat ….tar`.
            What is named is what is taken.
        split: "train" or "val"; of a folder, those shards are taken.
        classes: class names that the labels must index into, a network's for example. None takes the
            shards' own.
        beside: where the shards named are of another split, take those of `split` beside them.

    Raises:
        DataError: if a shard or its index is missing, damaged, torn, or does not belong with the others; if
            there is no such split, or a class is not among `classes`.
        MissingExtraError: without webdataset, for braces, URLs and pipes.
    """
    addresses = folder_addresses(Path(data), split) if os.path.isdir(data) else expand(str(data))
    first = read_index(addresses[0])
    if first.split != split and beside:
        others = split_addresses(addresses[0], first, split)
        if others is None:
            raise DataError(
                f"{addresses[0]} is of split {first.split}, and its index does not know where {split} is; "
                f"name {split} shards (for validation as val_data)"
            )
        addresses, first = others, read_index(others[0])
    with ThreadPoolExecutor(INDEX_THREADS if is_remote(addresses[0]) else 1) as pool:
        indexes = [first, *pool.map(read_index, addresses[1:])]
    _check_together(addresses, indexes)
    kind = RemoteShards if is_remote(addresses[0]) else Shards
    return kind(_absolute(addresses), indexes, classes=classes)


def folder_addresses(folder: Path, split: Split) -> tuple[str, ...]:
    """Every shard of a split in a folder, none missing.

    Raises:
        DataError: if the folder has none to begin with, there is a gap, or its index is damaged.
    """
    for other in (split, "val", "train"):
        name = str(folder / f"{shard_name(other, 0)}.tar")
        if Path(index_address(name)).exists() or Path(name).exists():
            index = read_index(name)
            return split_addresses(name, index, split) or _found(folder, other, index, split)
    raise DataError(
        f"{folder} holds tar files, but no {shard_name(split, 0)}.tar to begin with; name the shards, as in "
        f"'{folder}/NAME-{{000000..000007}}.tar'"
    )


def shard_splits(data: str | Path) -> set[str]:
    """Splits of the shards of a folder; or that of shards that are named, and what is known to lie beside it.

    Raises:
        DataError: as `open_shards`.
        MissingExtraError: likewise.
    """
    in_folder = os.path.isdir(data)
    if in_folder:
        firsts = [os.path.join(data, f"{shard_name(split, 0)}.tar") for split in ("train", "val")]
        firsts = [name for name in firsts if os.path.exists(name) or os.path.exists(index_address(name))]
    else:
        firsts = [expand(str(data))[0]]
    found: set[str] = set()
    for index in map(read_index, firsts):
        beside = index.shards if in_folder or index.split == "train" else {}
        found |= {index.split, *(split for split, number in beside.items() if number)}
    return found


def _found(folder: Path, prefix: Split, index: ShardIndex, split: Split) -> tuple[str, ...]:
    """Shards of a folder whose indexes, by `shard --index`, do not know how many there are: all of a name."""
    if index.split != split:
        raise DataError(
            f"{folder} has no {split} shards: {shard_name(prefix, 0)}.tar is of split {index.split}; name "
            f"{split} shards (for validation as val_data)"
        )
    there = {path.name for path in folder.glob(f"{prefix}-*.tar")}
    numbered = sorted(name for name in there if re.fullmatch(rf"{prefix}-\d{{6}}\.tar", name))
    names = [f"{shard_name(prefix, number)}.tar" for number in range(len(numbered))]
    missing = next((name for name in names if name not in there), None)
    if missing:
        raise DataError(f"{folder} has a gap: {missing} is not there, shards after it are; fetch it too")
    return tuple(str(folder / name) for name in names)


def _absolute(addresses: Sequence[str]) -> list[str]:
    # Workers start in the folder where this process started.
    return [address if is_remote(address) else os.path.abspath(address) for address in addresses]


def read_index(address: str) -> ShardIndex:
    """The index of a shard; a local shard is looked at too."""
    name = index_address(address)
    if is_remote(address):
        return ShardIndex.from_json(patiently(lambda until: _read_remote_index(name, until)), name=name)
    shown = printable(name)
    try:
        size = os.stat(address).st_size
    except OSError as error:
        raise DataError(
            f"{printable(address)} cannot be read ({error.strerror or error}); a shard is missing"
        ) from None
    try:
        text = read_regular(name, JSON_BYTES)
    except OSError as error:
        raise DataError(
            f"{shown}, the shard's index, cannot be read ({error.strerror or error}); for shards that "
            "`mobileone shard` did not write, `mobileone shard --index` makes it"
        ) from None
    index = ShardIndex.from_json(text, name=shown)
    if size != index.tar_bytes:
        raise DataError(
            f"{printable(address)} has {size} bytes, its index says {index.tar_bytes}; it is torn, or the "
            "index is another's; fetch both again"
        )
    return index


def _read_remote_index(name: str, until: float) -> bytes:
    text = bytearray()
    with open_remote(name, until=until) as chunks:
        for chunk in chunks:
            text += chunk
            if len(text) > JSON_BYTES.value:
                raise DataError(f"{name} is larger than {JSON_BYTES} bytes: no shard's index")
    return bytes(text)


def _check_together(addresses: Sequence[str], indexes: Sequence[ShardIndex]) -> None:
    first = indexes[0]
    for address, index in zip(addresses, indexes, strict=True):
        if index.split != first.split:
            raise DataError(f"{address} is of split {index.split}, {addresses[0]} of {first.split}")
        if index.task != first.task:
            raise DataError(
                f"{address} is {index.task}, {addresses[0]} {first.task}; they are of two data sets"
            )
        if index.classes != first.classes:
            raise DataError(f"{address} and {addresses[0]} have different classes; they are of two data sets")
        if index.shards != first.shards or index.settings != first.settings:
            raise DataError(f"{address} and {addresses[0]} were not written together")
        if is_remote(address) != is_remote(addresses[0]):
            raise DataError(f"{address} and {addresses[0]}: give only local shards, or only URLs and pipes")
    numbers = sorted({index.number for index in indexes})
    missing = next((one + 1 for one, two in pairwise(numbers) if two > one + 1), None)
    if missing is not None:
        raise DataError(
            f"the list of shards has a gap: {shard_name(first.split, missing)}.tar is not in it, shards "
            "before and after it are; name it too"
        )
    if not sum(len(index) for index in indexes):
        raise DataError(f"there are no images in {addresses[0]} and the {len(addresses) - 1} shards with it")


def _labels(
    addresses: Sequence[str], indexes: Sequence[ShardIndex], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Labels]:
    """Class names, and labels that index into them."""
    own = indexes[0].classes
    each = [label for index in indexes for label in index.labels]
    labels: Labels
    if indexes[0].task == "multilabel":
        labels = np.zeros((len(each), len(own)), dtype=bool)
        for row, chosen in zip(labels, each, strict=True):
            row[list(chosen)] = True  # type: ignore[arg-type]  # of one kind, by `_check_together`
        used = [own[label] for label in np.flatnonzero(labels.any(0))]
    else:
        labels = np.array(each, dtype=np.int64)
        used = [own[label] for label in np.unique(labels)]
    if classes is None or tuple(classes) == own:
        return own, labels
    place = {name: label for label, name in enumerate(classes)}
    unknown = [name for name in used if name not in place]
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise DataError(
            f"class {unknown[0]}{more} of {addresses[0]} is none of the model's {len(classes)} classes "
            f"({classes[0]} … {classes[-1]}); use data of the model's classes, or a model of these"
        )
    if labels.ndim == 1:
        return tuple(classes), np.array([place.get(name, -1) for name in own], dtype=np.int64)[labels]
    known = np.zeros((len(each), len(classes)), dtype=bool)
    known[:, [place[name] for name in used]] = labels[:, [own.index(name) for name in used]]
    return tuple(classes), known
