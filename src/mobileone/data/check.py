"""What a data set holds: every image decoded, damage, duplicates, balance, sizes and unusual kinds."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileone.data.folder import ImageFolder
from mobileone.data.loader import BadImage
from mobileone.data.pixels import to_tensor
from mobileone.data.pool import in_processes
from mobileone.data.resize import resize
from mobileone.data.source import ImageSource, notes_of
from mobileone.errors import BadImageError
from mobileone.images.decode import PILLOW_FORMATS, EncodedImage
from mobileone.images.orientation import EXIF_ORIENTATION
from mobileone.input_spec import LUMA

CHUNK = 128
MAX_BITS = 2
"""Bits of 64 in which the pictures of one photo may differ, coded or scaled another way."""

MAX_LEVELS = 10.0
"""Grey levels by which their thumbnails may differ on average; pictures of little detail share hashes too."""

MAX_BUCKET = 256  # pictures with the same 16 bits; more of them are no photos but blank or drawn alike


class ImageFacts(NamedTuple):
    """What one image is; `reason` is empty if it can be decoded."""

    reason: str
    height: int
    width: int
    kind: str
    content: bytes
    looks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """One split.

    Attributes:
        num_images: all images, damaged ones too.
        bad: those that cannot be decoded.
        per_class: images of every class, by its name.
        height: smallest, median and largest, pixels.
        width: likewise.
        kinds: number of images of each kind: format and mode, and what is unusual about them.
        duplicates: groups of images of the same bytes, by name.
        ignored: number of files that are no images by their names, by suffix.
        unread: class folders with files of which none is an image.
        notes: what was chosen or left out in finding the images.
    """

    num_images: int
    bad: tuple[BadImage, ...]
    per_class: dict[str, int]
    height: tuple[int, int, int]
    width: tuple[int, int, int]
    kinds: dict[str, int]
    duplicates: tuple[tuple[str, ...], ...]
    ignored: dict[str, int]
    unread: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """A data set.

    Attributes:
        splits: by name, `train` and `val` or one of them.
        shared: groups of images of the same bytes that are in both splits.
        contradictory: groups of images of the same bytes with different labels, within or between splits.
        alike: pairs of a training and a validation image that look the same (64-bit difference hashes at most
            2 bits apart, thumbnails at most 10 grey levels) and are not the same bytes.
    """

    splits: dict[str, SplitReport]
    shared: tuple[tuple[str, ...], ...]
    contradictory: tuple[tuple[str, ...], ...]
    alike: tuple[tuple[str, str], ...]

    @property
    def num_bad(self) -> int:
        """Images that cannot be decoded."""
        return sum(len(split.bad) for split in self.splits.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def check_data(
    sources: Mapping[str, ImageSource],
    *,
    num_workers: int | None = None,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> DataReport:
    """Read and decode every image, and say what is there.

    Args:
        sources: the splits by name.
        num_workers: processes; 0 works in this one, None takes one for every core.
        on_images: told how many images are done, of how many.

    Raises:
        DataError: if a shard cannot be read.
    """
    total = sum(len(source) for source in sources.values())
    found: dict[str, list[ImageFacts]] = {name: [] for name in sources}
    done = 0
    for name, source in sources.items():
        chunks = [range(i, min(i + CHUNK, len(source))) for i in range(0, len(source), CHUNK)]
        for images in in_processes(partial(_look_at_all, source), chunks, num_workers=num_workers):
            found[name] += images
            done += len(images)
            on_images(done, total)
    places = defaultdict(list)
    for name, images in found.items():
        for index, image in enumerate(images):
            if not image.reason:
                places[image.content].append((name, index))
    groups = [group for group in places.values() if len(group) > 1]

    def names(group: list[tuple[str, int]]) -> tuple[str, ...]:
        return tuple(sources[name].name(index) for name, index in group)

    def label(place: tuple[str, int]) -> str:
        source = sources[place[0]]
        return str(source.classes[source.labels[place[1]]])

    return DataReport(
        splits={
            name: _split_report(
                source, found[name], [names(g) for g in groups if {s for s, _ in g} == {name}]
            )
            for name, source in sources.items()
        },
        shared=tuple(names(group) for group in groups if len({name for name, _ in group}) > 1),
        contradictory=tuple(names(group) for group in groups if len(set(map(label, group))) > 1),
        alike=tuple(_alike(sources, found)) if {"train", "val"} <= set(sources) else (),
    )


def _split_report(
    source: ImageSource, images: list[ImageFacts], duplicates: list[tuple[str, ...]]
) -> SplitReport:
    counts = np.bincount(source.labels, minlength=len(source.classes)).tolist()
    readable = [image for image in images if not image.reason]
    kinds = Counter(image.kind for image in readable)
    return SplitReport(
        num_images=len(source),
        bad=tuple(BadImage(source.name(i), image.reason) for i, image in enumerate(images) if image.reason),
        per_class=dict(zip(source.classes, counts, strict=True)),
        height=_spread([image.height for image in readable]),
        width=_spread([image.width for image in readable]),
        kinds=dict(kinds.most_common()),
        duplicates=tuple(duplicates),
        ignored=dict(source.ignored) if isinstance(source, ImageFolder) else {},
        unread=source.unread if isinstance(source, ImageFolder) else (),
        notes=notes_of(source),
    )


def _spread(values: list[int]) -> tuple[int, int, int]:
    ordered = sorted(values) or [0]
    return ordered[0], ordered[len(ordered) // 2], ordered[-1]


def _look_at_all(source: ImageSource, indices: range) -> list[ImageFacts]:
    return [_look_at(source, index) for index in indices]


def _look_at(source: ImageSource, index: int) -> ImageFacts:
    try:
        image = source.read(index)
        pixels = image.decode()
    except BadImageError as error:
        return ImageFacts(str(error).removeprefix(f"{source.name(index)}: "), 0, 0, "", b"", 0)
    if isinstance(image, EncodedImage):
        kind, content = _kind(image.data), image.data
    else:
        kind, content = "pixels", pixels.tobytes()
    digest = hashlib.sha256(content).digest()[:16]
    return ImageFacts("", image.height, image.width, kind, digest, difference_hash(to_tensor(pixels)))


def _kind(data: bytes) -> str:
    """Such as "JPEG" (RGB goes without saying), "JPEG CMYK", "PNG RGBA", "GIF P animated", "JPEG rotated"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with PIL.Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as image:
                words = [image.format or "", "" if image.mode == "RGB" else image.mode]
                words += ["animated"] if getattr(image, "n_frames", 1) > 1 else []
                words += ["rotated"] if image.getexif().get(EXIF_ORIENTATION, 1) != 1 else []
        except Exception:  # it was decoded, so what Pillow makes of its metadata is no matter
            return "unusual"
    return " ".join(word for word in words if word)


def difference_hash(pixels: Tensor) -> int:
    """64 bits: whether the picture, 9×8 pixels of grey, gets lighter from each pixel to the next.

    The same for the same picture at another size or quality, but for a few bits (N. Krawetz's "dHash").

    Args:
        pixels: uint8 (3, H, W).

    >>> difference_hash(torch.arange(64, dtype=torch.uint8).repeat(3, 64, 1)) == 2**64 - 1
    True
    """
    small = resize(pixels, (8, 9)).double()
    grey = (small * torch.tensor(LUMA, dtype=torch.float64).view(3, 1, 1)).sum(0)
    bits = (grey[:, 1:] > grey[:, :-1]).reshape(-1).numpy()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _alike(
    sources: Mapping[str, ImageSource], found: Mapping[str, list[ImageFacts]]
) -> list[tuple[str, str]]:
    """Names of training and validation images whose hashes are close, and their thumbnails too.

    Hashes that differ in 2 of 64 bits share at least 2 of 4 quarters, so looking at equal quarters finds all.
    """
    readable = {
        name: [(i, image) for i, image in enumerate(found[name]) if not image.reason]
        for name in ("train", "val")
    }
    hashes = {
        name: np.array([image.looks for _, image in images], dtype=np.uint64)
        for name, images in readable.items()
    }
    pairs: set[tuple[int, int]] = set()
    for quarter in range(4):
        buckets = _buckets(hashes["train"], quarter)
        for position, value in enumerate(hashes["val"].tolist()):
            bucket = buckets.get(value >> (16 * quarter) & 0xFFFF)
            if bucket is None or len(bucket) > MAX_BUCKET:
                continue
            apart = np.bitwise_count(hashes["train"][bucket] ^ np.uint64(value))
            pairs |= {(int(other), position) for other in bucket[apart <= MAX_BITS]}
    alike = []
    for one, other in sorted(pairs):
        (train_index, train_image), (val_index, val_image) = readable["train"][one], readable["val"][other]
        if train_image.content == val_image.content:
            continue
        views = [_thumbnail(sources["train"], train_index), _thumbnail(sources["val"], val_index)]
        if float((views[0] - views[1]).abs().mean()) <= MAX_LEVELS:
            alike.append((sources["train"].name(train_index), sources["val"].name(val_index)))
    return alike


def _thumbnail(source: ImageSource, index: int) -> Tensor:
    """Float (3, 32, 32), 0..255."""
    return resize(to_tensor(source.read(index).decode()), (32, 32)).float()


def _buckets(hashes: NDArray[np.uint64], quarter: int) -> dict[int, NDArray[np.int64]]:
    """Positions of hashes by a quarter of their bits."""
    keys = ((hashes >> np.uint64(16 * quarter)) & np.uint64(0xFFFF)).astype(np.int64)
    order = np.argsort(keys, kind="stable")
    values, starts = np.unique(keys[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True))
