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

from mobileone.data.folder import ImageFolder
from mobileone.data.likeness import close_pairs, difference_hash, look_alike
from mobileone.data.loader import BadImage
from mobileone.data.pixels import to_tensor
from mobileone.data.pool import in_processes
from mobileone.data.source import ImageSource, label_counts, notes_of
from mobileone.errors import BadImageError
from mobileone.images.decode import PILLOW_FORMATS, EncodedImage
from mobileone.images.orientation import EXIF_ORIENTATION

CHUNK = 128


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
        per_class: images of every class, by its name; with several labels an image it counts for each.
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
        for images in in_processes(partial(look_at_images, source), chunks, num_workers=num_workers):
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
        own = np.atleast_1d(source.labels[place[1]])
        return ";".join(source.classes[k] for k in (np.flatnonzero(own) if own.dtype == bool else own))

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
    counts = label_counts(source.labels, len(source.classes)).tolist()
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


def look_at_images(source: ImageSource, indices: range) -> list[ImageFacts]:
    """What each of these images is."""
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


def _alike(
    sources: Mapping[str, ImageSource], found: Mapping[str, list[ImageFacts]]
) -> list[tuple[str, str]]:
    """Names of training and validation images whose hashes are close, and their thumbnails too."""
    readable = {
        name: [(i, image) for i, image in enumerate(found[name]) if not image.reason]
        for name in ("train", "val")
    }
    hashes = {
        name: np.array([image.looks for _, image in images], dtype=np.uint64)
        for name, images in readable.items()
    }
    alike = []
    for one, other in close_pairs(hashes["train"], hashes["val"]):
        (train_index, train_image), (val_index, val_image) = readable["train"][one], readable["val"][other]
        if train_image.content == val_image.content:
            continue
        if look_alike(sources["train"], train_index, sources["val"], val_index):
            alike.append((sources["train"].name(train_index), sources["val"].name(val_index)))
    return alike
