"""Images in class folders: `train/<class>/*.jpg` and `val/<class>/*.jpg`, or a flat `<class>/*.jpg`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileone.data.layout import (
    IMAGE_EXTENSIONS,
    Split,
    find_files,
    folders_in,
    ignored_text,
    is_image_name,
    is_seen,
    split_folder,
)
from mobileone.data.source import Labels
from mobileone.errors import DataError
from mobileone.images.decode import EncodedImage, read_image
from mobileone.outside_text import printable


@dataclass(frozen=True, slots=True, eq=False)
class PackedNames:
    """Many strings in one bytes object.

    ImageNet has 1.3 million files. As Python strings they are copied page by page into every worker, because
    counting references writes to them; packed, they are 40 MB that pickle in one piece.

    >>> names = PackedNames.pack(["a/1.jpg", "b/é.jpg"])
    >>> len(names), names[1]
    (2, 'b/é.jpg')
    """

    data: bytes
    ends: NDArray[np.int64]

    @classmethod
    def pack(cls, names: Iterable[str]) -> PackedNames:
        """Pack them, in order."""
        encoded = [os.fsencode(name) for name in names]
        return cls(b"".join(encoded), np.cumsum([len(name) for name in encoded], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self.ends):
            raise IndexError(index)
        start = int(self.ends[index - 1]) if index else 0
        return os.fsdecode(self.data[start : int(self.ends[index])])


@dataclass(frozen=True, slots=True, eq=False)
class ImageFolder:
    """Labelled image files.

    Attributes:
        root: the folder that holds the class folders, absolute.
        classes: class (folder) names, which the labels index into.
        labels: class index of every image, int64 (num_images,); of a list with several labels an image
            whether it has each, bool (num_images, num_classes).
        files: path of every image, relative to `root`; of a folder sorted by class, then by path.
        ignored: number of files below the class folders that are no images by their names, by suffix.
        unread: class folders with files of which none is an image.
        notes: what was chosen or left out in finding them, a line each.
        groups: what every image belongs to, where a list says so: images of a group are never split.
        recorded: what every image is called in the data folder, where a list says so (`split.jsonl`).
    """

    root: Path
    classes: tuple[str, ...]
    labels: Labels
    files: PackedNames
    ignored: Mapping[str, int] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    recorded: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> Path:
        """Path of an image."""
        return self.root / self.files[index]

    def name(self, index: int) -> str:
        """The path as reports print it."""
        return printable(self.path(index))

    def read(self, index: int) -> EncodedImage:
        """Content of an image file.

        Raises:
            BadImageError: if the file cannot be read.
        """
        return read_image(self.path(index))


def find_images(
    root: str | Path, *, split: Split | None, classes: Sequence[str] | None = None
) -> ImageFolder:
    """Every image below the class folders of a data set.

    Args:
        root: the data folder.
        split: "train" or "val" look in that sub-folder. For "val", valid or validation, or else the only one
            of test, eval and dev, is as good; and `root` itself where it has no split (a test-only folder).
            `None` takes `root` itself.
        classes: class (folder) names that the labels must index into, a network's for example; folders may be
            missing, not added, but for those without images. By default the folders found, sorted.

    Returns:
        The images, found recursively by extension (`IMAGE_EXTENSIONS`, any case). Symbolic links are
        followed; hidden files and folders, and those of operating systems, are not looked at. A class folder
        without images stays a class.

    Raises:
        DataError: if a folder, the split, the class folders or the images are missing, a class folder is
            not among `classes`, or what a folder is cannot be told.
    """
    base, notes = split_folder(Path(root), split, classes)
    found = {name: find_files(base / name) for name in folders_in(base)}
    if not found:
        raise DataError(f"{printable(base)} has no class folders; expected {printable(base)}/<class>/*.jpg")
    if classes is not None:
        empty = [n for n, files in found.items() if class_name(n) not in classes and not files.images]
        if empty:
            notes.append(f"{_named(base, empty)}: no images, and none of the model's classes: left out")
        found = {name: files for name, files in found.items() if name not in empty}
    names = tuple(map(class_name, found)) if classes is None else tuple(classes)
    label_of = {name: label for label, name in enumerate(names)}
    _check_class_folders(base, found, names)
    labels = [label_of[class_name(name)] for name, files in found.items() for _ in files.images]
    paths = [os.path.join(name, path) for name, files in found.items() for path in files.images]
    ignored = sum((files.ignored for files in found.values()), Counter[str]())
    if not paths:
        beside = f"; {ignored_text(ignored)}" if ignored else ""
        raise DataError(
            f"no images below the {len(found)} folders of {printable(base)}; "
            f"looked for {' '.join(IMAGE_EXTENSIONS)}{beside}"
        )
    unread = tuple(name for name, files in found.items() if files.ignored and not files.images)
    return ImageFolder(
        base.absolute(),  # because workers start in the folder where this process started
        names,
        np.array(labels, dtype=np.int64),
        PackedNames.pack(paths),
        ignored=dict(ignored),
        unread=unread,
        notes=(*notes, *_notes(base, ignored, unread)),
    )


def image_files(folder: str | Path) -> list[Path]:
    """Every image below a folder, labelled or not, sorted by path; found as `find_images` finds them.

    Raises:
        DataError: if there is none.
    """
    found = find_files(folder)
    if not found.images:
        beside = f"; {ignored_text(found.ignored)}" if found.ignored else ""
        raise DataError(
            f"no images below {printable(folder)}; looked for {' '.join(IMAGE_EXTENSIONS)}{beside}"
        )
    return [Path(folder, path) for path in found.images]


def class_name(folder: str) -> str:
    r"""A class by its folder's name, as text: bytes that are not UTF-8 are escaped, as files hold Unicode.

    >>> print(class_name("caf\udce9"))
    caf\xe9
    """
    return os.fsencode(folder).decode("utf-8", "backslashreplace")


def _check_class_folders(base: Path, found: Iterable[str], names: Sequence[str]) -> None:
    """Refuse a folder that is no class, and two that are the same."""
    unknown = [name for name in found if class_name(name) not in names]
    if unknown:
        raise DataError(
            f"{_named(base, unknown)} is none of the model's {len(names)} classes "
            f"({printable(names[0])} … {printable(names[-1])}); rename or remove it, or use a model of these "
            "classes"
        )
    twice = [name for name, count in Counter(map(class_name, found)).items() if count > 1]
    if twice:
        raise DataError(f"{printable(base)} has two folders that read {printable(twice[0])}; rename one")


def _notes(base: Path, ignored: Mapping[str, int], unread: Sequence[str]) -> Iterator[str]:
    """What is to be said of files that are no images, and of images that are no class's."""
    where = printable(base)
    if ignored:
        yield f"{where}: {ignored_text(ignored)}"
    if unread:
        yield f"{_named(base, unread)} has files, but none that is an image"
    files = [entry.name for entry in os.scandir(base) if entry.is_file()]
    outside = sum(is_image_name(name) and is_seen(name) for name in files)
    if outside:
        yield f"{where}: {outside} images lie outside the class folders: not looked at"


def _named(base: Path, names: Sequence[str]) -> str:
    """The first folder's path, and how many more there are."""
    return printable(base / names[0]) + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
