"""Images in class folders: `train/<class>/*.jpg` and `val/<class>/*.jpg`, or a flat `<class>/*.jpg`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mobileone.errors import DataError
from mobileone.images.decode import EncodedImage, read_image
from mobileone.outside_text import printable

Split = Literal["train", "val"]

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")


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
        labels: class index of every image, int64 (num_images,).
        files: path of every image, relative to `root`; sorted by class, then by path.
    """

    root: Path
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    files: PackedNames

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
        split: "train" or "val" look in that sub-folder; "val" takes `root` itself where it has neither
            (a test-only folder). `None` takes `root` itself.
        classes: class (folder) names that the labels must index into, a network's for example; folders may be
            missing, not added. By default the folders found, sorted.

    Returns:
        The images, found recursively by extension (`IMAGE_EXTENSIONS`, any case). Symbolic links are
        followed, hidden files and folders are not looked at. A class folder without images stays a class.

    Raises:
        DataError: if a folder, the split, the class folders or the images are missing, or a class folder is
            not among `classes`.
    """
    base = _split_folder(Path(root), split)
    found = sorted(entry.name for entry in os.scandir(base) if entry.is_dir() and _visible(entry.name))
    if not found:
        raise DataError(f"{base} has no class folders; expected {base}/<class>/*.jpg")
    names = tuple(classes) if classes is not None else tuple(found)
    label_of = {name: label for label, name in enumerate(names)}
    unknown = [name for name in found if name not in label_of]
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise DataError(
            f"{base / unknown[0]}{more} is none of the model's {len(names)} classes "
            f"({names[0]} … {names[-1]}); rename or remove it, or use a model of these classes"
        )
    files: list[str] = []
    labels: list[int] = []
    for name in found:
        inside = sorted(_image_files(base / name))
        files += (os.path.join(name, path) for path in inside)
        labels += [label_of[name]] * len(inside)
    if not files:
        raise DataError(
            f"no images below the {len(found)} folders of {base}; looked for {' '.join(IMAGE_EXTENSIONS)}"
        )
    # Absolute, because workers start in the folder where this process started.
    return ImageFolder(base.absolute(), names, np.array(labels, dtype=np.int64), PackedNames.pack(files))


def image_files(folder: str | Path) -> list[Path]:
    """Every image below a folder, labelled or not, sorted by path; found as `find_images` finds them.

    Raises:
        DataError: if there is none.
    """
    found = sorted(Path(folder, path) for path in _image_files(Path(folder)))
    if not found:
        raise DataError(f"no images below {folder}; looked for {' '.join(IMAGE_EXTENSIONS)}")
    return found


def _split_folder(root: Path, split: Split | None) -> Path:
    if not root.is_dir():
        raise DataError(f"no such data folder: {root}; give the folder that holds train/ and val/")
    if split is None or (root / split).is_dir():
        return root / (split or "")
    if split == "val" and not (root / "train").is_dir():
        return root
    raise DataError(f"{root} has no {split}/ folder; expected {root / split}/<class>/*.jpg")


def _image_files(folder: Path) -> Iterator[str]:
    """Paths relative to `folder` of the images below it."""
    for base, folders, files in os.walk(folder, followlinks=True):
        # A link to a folder that is being walked would go round for ever.
        here = os.path.realpath(base)
        folders[:] = [name for name in folders if _visible(name) and not _encloses(base, name, here)]
        relative = os.path.relpath(base, folder)
        for name in files:
            if _visible(name) and name.lower().endswith(IMAGE_EXTENSIONS):
                yield os.path.normpath(os.path.join(relative, name))


def _encloses(base: str, name: str, here: str) -> bool:
    path = os.path.join(base, name)
    if not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    return here == target or here.startswith(os.path.join(target, ""))


def _visible(name: str) -> bool:
    return not name.startswith(".")
