"""Images in a folder become shards with indexes, in parallel; always the same bytes for the same images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobileone.atomic import atomic_path, leftovers
from mobileone.data.folder import ImageFolder, find_images
from mobileone.data.image_list import list_images
from mobileone.data.layout import IMAGE_EXTENSIONS, Split
from mobileone.data.list_rows import is_list
from mobileone.data.open import splits_of
from mobileone.data.pixels import to_tensor
from mobileone.data.pool import in_processes
from mobileone.data.requests import seeded_generator
from mobileone.data.resize import resize
from mobileone.data.shards.address import index_address, shard_name
from mobileone.data.shards.index import ShardIndex
from mobileone.data.shards.tar import LABEL, index_tar
from mobileone.data.source import labels_task
from mobileone.errors import ConfigError, DataError, MissingExtraError
from mobileone.images.decode import EncodedImage
from mobileone.images.orientation import with_orientation
from mobileone.limits import JSON_BYTES
from mobileone.outside_text import printable
from mobileone.regular_file import read_regular

SHARD_SIZE = 1000
QUALITY = 92
SHUFFLE_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSettings:
    """How shards are made.

    Attributes:
        shard_size: most images in a shard; a split is dealt out evenly.
        resize_short: images whose short side is longer are resized to it, antialiased, pixels; None keeps
            every file as it is, byte by byte.
        quality: of the JPEGs that resizing writes, 1–100; their colours have half the resolution (4:2:0).

    Raises:
        ConfigError: on values out of range.
    """

    shard_size: int = SHARD_SIZE
    resize_short: int | None = None
    quality: int = QUALITY

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise ConfigError(f"shard_size must be at least 1 image, got {self.shard_size}")
        if self.resize_short is not None and self.resize_short < 1:
            raise ConfigError(f"resize_short must be at least 1 pixel, got {self.resize_short}")
        if not 1 <= self.quality <= 100:
            raise ConfigError(f"quality must be in 1..100, got {self.quality}")

    def to_dict(self) -> dict[str, int | None]:
        """What an index states."""
        quality = None if self.resize_short is None else self.quality
        return {"shard_size": self.shard_size, "resize_short": self.resize_short, "quality": quality}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSplit:
    """What one split became.

    Attributes:
        split: its name.
        num_shards: number of tar files.
        num_images: in all of them.
        size_bytes: of all of them.
        kept: shards that were there already, from a run that was interrupted.
        notes: what was chosen or left out in finding the images, a line each.
    """

    split: Split
    num_shards: int
    num_images: int
    size_bytes: int
    kept: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Task:
    """One shard to write."""

    folder: Path
    source: ImageFolder
    split: Split
    number: int
    shards: dict[str, int]
    images: list[int]
    settings: ShardSettings

    @property
    def tar(self) -> Path:
        return self.folder / f"{shard_name(self.split, self.number)}.tar"

    @property
    def index(self) -> Path:
        return Path(index_address(str(self.tar)))


def write_shards(
    data: str | Path,
    output: str | Path,
    *,
    settings: ShardSettings | None = None,
    num_workers: int | None = None,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> list[WrittenSplit]:
    """Pack `data/train/<class>/` and `data/val/<class>/`, or the images of a list, into shards with indexes.

    Training images are shuffled over the shards, always in the same way, validation images keep their order.
    Every image is decoded once, so that nothing unreadable gets in; every tar file is read back and compared
    with what was to be written, by hash, before its index is written. Interrupted, the same call goes on
    after the shards that are finished.

    Args:
        data: the data folder, or a list of images; one without train and val is a validation set.
        output: folder to write, `train-000000.tar`, `train-000000.json` and so on.
        settings: how; None is 1000 images a shard, as they are.
        num_workers: processes; 0 works in this one, None takes one for every core.
        on_shard: told after every shard how many are done, of how many.

    Raises:
        ConfigError: if `output` holds other files, or a finished data set.
        DataError: if the data cannot be used, or a shard read back is not what was written.
        BadImageError: at an unreadable image.
        MissingExtraError: without webdataset.
    """
    settings = settings or ShardSettings()
    folder = Path(output)
    tasks = _plan(Path(data), folder, settings)
    finished = [_finished(task) for task in tasks]
    _check_output(folder, tasks, finished)
    _tar_writer()  # now, and not in the first worker
    for path in leftovers(folder):
        path.unlink(missing_ok=True)
    todo = [task for task, index in zip(tasks, finished, strict=True) if index is None]
    done = len(tasks) - len(todo)
    written = []
    for index in in_processes(_write, todo, num_workers=num_workers):
        written.append(index)
        on_shard(done + len(written), len(tasks))
    indexes = [index for index in finished if index is not None] + written
    notes: dict[str, tuple[str, ...]] = {task.split: task.source.notes for task in tasks}
    return [_summary(split, indexes, finished, notes) for split in tasks[0].shards]


def _plan(data: Path, folder: Path, settings: ShardSettings) -> list[_Task]:
    sources: dict[Split, ImageFolder] = {}
    find = list_images if is_list(data) else find_images
    there = splits_of(data)
    if "train" in there:
        sources["train"] = find(data, split="train")
    if not sources or len(there) > 1:
        classes = sources["train"].classes if sources else None
        sources["val"] = find(data, split="val", classes=classes)
    shards: dict[str, int] = {
        name: -(-len(source) // settings.shard_size) for name, source in sources.items()
    }
    tasks = []
    for name, source in sources.items():
        images = torch.arange(len(source))
        if name == "train":
            images = torch.randperm(len(source), generator=seeded_generator(SHUFFLE_SEED))
        for number, part in enumerate(torch.tensor_split(images, shards[name])):
            tasks.append(_Task(folder, source, name, number, shards, part.tolist(), settings))
    return tasks


def _finished(task: _Task) -> ShardIndex | None:
    """The index of a shard that is there already; None if there is none."""
    if not task.index.exists():
        return None
    try:
        content = read_regular(task.index, JSON_BYTES)
    except OSError as error:
        raise DataError(f"{printable(task.index)} cannot be read ({error.strerror or error})") from None
    index = ShardIndex.from_json(content, name=printable(task.index))
    planned = (task.shards, task.source.classes, task.settings.to_dict(), tuple(task.images), _names(task))
    found = (index.shards, index.classes, index.settings, index.ids, index.names)
    if found != planned or not task.tar.is_file() or task.tar.stat().st_size != index.tar_bytes:
        raise ConfigError(
            f"{task.index} is there already, of other images or settings; choose another folder, or remove it"
        )
    return index


def _check_output(folder: Path, tasks: Sequence[_Task], finished: Sequence[ShardIndex | None]) -> None:
    """Refuse a folder that holds anything but the beginning of the same work."""
    if all(index is not None for index in finished):
        raise ConfigError(
            f"{folder} holds these shards already; check them with `mobileone shard {folder} --verify`"
        )
    try:
        known = {path for task in tasks for path in (task.tar, task.index)} | set(leftovers(folder))
        strange = sorted(set(folder.iterdir()) - known) if folder.exists() else []
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror or error}") from None
    if strange:
        raise ConfigError(
            f"{folder} is not empty ({strange[0].name}); choose another folder, or remove that one"
        )


def _names(task: _Task) -> tuple[str, ...]:
    return tuple(printable(task.source.files[image]) for image in task.images)


def _write(task: _Task) -> ShardIndex:
    """Write one shard and its index. The index comes last: a tar file without one is not finished."""
    hashes = []
    kind = labels_task(task.source.labels)
    with atomic_path(task.tar) as temporary:
        with (
            temporary.open("wb") as file,
            _tar_writer()(file, mtime=0, user="", group="", encoder=False) as tar,
        ):
            for image in task.images:
                content, suffix = shard_content(task.source.read(image), task.settings)
                hashes.append(hashlib.sha256(content).hexdigest())
                label = json.dumps(_label(task, image)).encode()
                tar.write({"__key__": f"{image:09d}", suffix: content, LABEL[kind]: label})
        index = index_tar(
            temporary,
            split=task.split,
            number=task.number,
            classes=task.source.classes,
            ids=task.images,
            names=_names(task),
            shards=task.shards,
            settings=task.settings.to_dict(),
            task=kind,
        )
    labels = tuple(_label(task, image) for image in task.images)
    if index.sha256 != tuple(hashes) or index.labels != labels:
        task.tar.unlink(missing_ok=True)
        raise DataError(
            f"{task.tar} was read back and is not what was written; the disk or the memory is at fault"
        )
    with atomic_path(task.index) as temporary:
        temporary.write_text(index.to_json(), encoding="utf-8")
    return index


def _label(task: _Task, image: int) -> int | tuple[int, ...]:
    """Class index of an image, or the indices of its labels."""
    own = task.source.labels[image]
    return tuple(np.flatnonzero(own).tolist()) if own.ndim else int(own)


def shard_content(image: EncodedImage, settings: ShardSettings) -> tuple[bytes, str]:
    """An image's bytes in a shard, and their suffix.

    Raises:
        BadImageError: if it cannot be decoded.
    """
    image = replace(image, exif=False)  # whether it is turned is for those who read the shard
    pixels = image.decode()  # whatever is done with it: only readable images go into shards
    short = min(image.height, image.width)
    if settings.resize_short is None or short <= settings.resize_short:
        suffix = Path(image.name).suffix.lower()
        # A list may name any file, and readers of shards know images by their suffix.
        return image.data, suffix[1:] if suffix in IMAGE_EXTENSIONS else image.format.lower()
    scale = settings.resize_short / short
    size = (max(1, round(image.height * scale)), max(1, round(image.width * scale)))
    small = np.ascontiguousarray(resize(to_tensor(pixels), size).permute(1, 2, 0).numpy())
    import simplejpeg

    encoded: bytes = simplejpeg.encode_jpeg(small, quality=settings.quality, colorsubsampling="420")
    return with_orientation(encoded, replace(image, exif=True).orientation), "jpg"


def _tar_writer() -> Any:
    try:
        from webdataset.writer import TarWriter
    except ImportError:
        raise MissingExtraError(
            "writing shards needs webdataset, which is not installed; pip install 'mobileone[shards]'"
        ) from None
    return TarWriter


def _summary(
    split: str,
    indexes: list[ShardIndex],
    finished: Sequence[ShardIndex | None],
    notes: Mapping[str, tuple[str, ...]],
) -> WrittenSplit:
    own = [index for index in indexes if index.split == split]
    return WrittenSplit(
        split=own[0].split,
        num_shards=len(own),
        num_images=sum(len(index) for index in own),
        size_bytes=sum(index.tar_bytes for index in own),
        kept=sum(index is not None and index.split == split for index in finished),
        notes=notes[split],
    )
