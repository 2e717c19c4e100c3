"""Photos as a network sees them, from files, folders and data sets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobileone.class_list import guessed_order
from mobileone.data.digits import load_digits
from mobileone.data.folder import image_files
from mobileone.data.hub_address import is_hub_data
from mobileone.data.hub_dataset import HubImages, open_hub_images
from mobileone.data.layout import is_image_name, is_seen
from mobileone.data.named_files import named_files
from mobileone.data.open import open_data
from mobileone.data.shards.shard_source import open_shards
from mobileone.data.source import ImageSource
from mobileone.errors import ConfigError, DataError
from mobileone.imagenet import resolve_classes
from mobileone.images.any_image import AnyImage, as_image
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec
from mobileone.outside_text import printable
from mobileone.progress_bar import progress_bar
from mobileone.task import Task

if TYPE_CHECKING:
    from torch import Tensor


def photo_pixels(photos: Iterable[AnyImage], spec: InputSpec) -> Tensor:
    """Photos resized and cut as a network sees them, uint8 (N, 3, height, width); at least one.

    Args:
        photos: paths, images or pixels.
        spec: the network's.

    Raises:
        BadImageError: if one cannot be decoded; the message names it.

    >>> photo_pixels([np.zeros((40, 60, 3), dtype=np.uint8)], InputSpec(size=32)).shape
    torch.Size([1, 3, 32, 32])
    """
    import torch

    from mobileone.data.pixels import to_tensor

    transform = EvalTransform.from_spec(spec)
    return torch.stack([to_tensor(transform(as_image(photo))) for photo in photos])


def unlabelled_photos(source: str | os.PathLike[str]) -> Sequence[AnyImage]:
    """The images of a place, whose labels do not matter, read as they are needed.

    Args:
        source: a folder, of which all images below it are meant; a list of images (.csv, .json, .jsonl, a
            column image); shards; a data set of the hub; `digits`; or an image file.

    Raises:
        DataError: if there are no images.
        ConfigError: on a folder that holds shards alone.
        MissingExtraError: as `open_data`.
    """
    name = os.fspath(source)
    if name == "digits":
        return _Unlabelled(load_digits("train"))
    if is_hub_data(name):
        return _Unlabelled(open_hub_images(name))
    files = named_files(name, on_note=lambda note: None)
    if files is None:
        return _Unlabelled(open_shards(name, split="val"))
    if files == [name] and not (os.path.isfile(name) and is_image_name(name)):
        raise DataError(
            f"photos are a folder, a list of images, shards, a data set of the hub or an image file; "
            f"{printable(name)} is none"
        )
    return files


@dataclass(frozen=True, slots=True, eq=False)
class _Unlabelled(Sequence[AnyImage]):
    source: ImageSource | HubImages

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: Any) -> Any:
        return self.source.read(index)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Photos:
    """Photos to compare networks on, read as they are needed.

    Attributes:
        read: a photo of the place they come from, by its number there.
        chosen: numbers of those that are meant.
        labels: class indices of the chosen ones, int64 (N,); None where they are unknown.
        title: what they are, in words.
    """

    read: Callable[[int], AnyImage]
    chosen: Sequence[int]
    labels: NDArray[np.int64] | None
    title: str

    def __len__(self) -> int:
        return len(self.chosen)

    def views(self, spec: InputSpec, *, progress: bool) -> NDArray[np.uint8]:
        """All of them, cut to size: uint8 (N, height, width, 3). Without torch.

        Raises:
            BadImageError: if one cannot be read.
        """
        bar = progress_bar(self.chosen, title="decoding", unit="image", hidden=not progress)
        transform = EvalTransform.from_spec(spec)
        return np.stack([transform(as_image(self.read(number))) for number in bar])

    def batches(self, spec: InputSpec, batch_size: int) -> Iterator[Tensor]:
        """All of them in parts of so many, read when a part is asked for."""
        for start in range(0, len(self), batch_size):
            yield photo_pixels(map(self.read, self.chosen[start : start + batch_size]), spec)


def read_photos(
    source: str | os.PathLike[str],
    *,
    num_classes: int,
    class_names: Sequence[str] | None,
    most: int | None = None,
    seed: int = 0,
    task: Task = "singlelabel",
) -> Photos:
    """Photos to compare networks on: with labels from class folders, shards or `digits`, or a flat folder's.

    A folder that holds class folders and photos beside them is read by its class folders, if the network
    knows one of them.

    Args:
        source: the place.
        num_classes: of the network.
        class_names: of the network; None where unknown.
        most: more photos than these are left out, by a seeded draw; None takes all.
        seed: of the draw.
        task: of the network; photos for one of several labels an image are taken without labels.

    Raises:
        DataError: if the folder is not there, or its classes are not the network's.
        ConfigError: if there are more classes or fewer than the network has.
    """
    name = os.fspath(source)
    classes = resolve_classes(num_classes, class_names)
    files = _flat_folder(Path(name), classes)
    if task == "multilabel" and not files and Path(name).is_dir():
        files = image_files(name)
    labels: NDArray[np.int64] | None = None
    read: Callable[[int], AnyImage]
    if files:
        total, read = len(files), files.__getitem__
    else:
        data = open_data(name, split="val", classes=classes, task=task)
        if len(data.classes) != num_classes:
            raise ConfigError(
                f"{name} has {len(data.classes)} classes, the network has {num_classes}; "
                "give images of its classes, or a folder of images without class folders"
            )
        total, read = len(data), data.read
        labels = data.labels.astype(np.int64) if data.labels.ndim == 1 else None
    chosen = _draw(total, most, seed)
    kind = "images without labels" if labels is None else "labelled images"
    part = "" if len(chosen) == total else f", a seeded draw from {total}"
    if labels is not None and classes is None:
        part += f"; {guessed_order(data.classes)}"
    return Photos(
        read=read,
        chosen=chosen.tolist(),
        labels=None if labels is None else labels[chosen],
        title=f"{len(chosen)} {kind} of {name}{part}",
    )


def _flat_folder(folder: Path, classes: tuple[str, ...] | None) -> list[Path]:
    """The photos that lie in the folder itself; none if it is read by its class folders, or is no folder."""
    if not folder.is_dir() or any((folder / name).is_dir() for name in classes or ()):
        return []
    return sorted(file for file in folder.iterdir() if is_image_name(file.name) and is_seen(file.name))


def _draw(total: int, most: int | None, seed: int) -> NDArray[np.int64]:
    if most is None or total <= most:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).permutation(total)[:most])
