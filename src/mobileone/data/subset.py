"""A part of a set of images, in its order: what a split, a fold or a list of exclusions leaves."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileone.data.folder import ImageFolder
from mobileone.data.layout import SPLIT_NAMES
from mobileone.data.source import ImageSource, Labels, StreamedSource, notes_of
from mobileone.errors import ConfigError, DataError
from mobileone.images.decode import Image
from mobileone.limits import JSON_BYTES
from mobileone.outside_text import printable
from mobileone.regular_file import read_regular


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """Some images of a set; an `ImageSource` of the same classes.

    Attributes:
        whole: the set.
        indices: of the images in it, int64 (N,), in the order that the part has.
        notes: of the set, and what this part is.
    """

    whole: ImageSource
    indices: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the set."""
        return self.whole.classes

    @property
    def labels(self) -> Labels:
        """Class indices, int64 (N,), or with several labels an image bool (N, K)."""
        return self.whole.labels[self.indices]

    @property
    def files(self) -> list[str]:
        """What `image_name` gives of each."""
        return [image_name(self, index) for index in range(len(self))]

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        """As the set names it."""
        return self.whole.name(int(self.indices[index]))

    def read(self, index: int) -> Image:
        """As the set reads it."""
        return self.whole.read(int(self.indices[index]))


def whole_of(source: ImageSource) -> tuple[ImageSource, NDArray[np.int64]]:
    """The set that a part, or a part of a part, is of, and where in it each image is, int64 (N,)."""
    if not isinstance(source, Subset):
        return source, np.arange(len(source))
    whole, indices = whole_of(source.whole)
    return whole, indices[source.indices]


def image_name(source: ImageSource, index: int) -> str:
    """What a list calls an image: its path below the data folder where it has one, else its name.

    It begins with the split where there are several, `train/cat/1.jpg`: train and val may have names alike.

    >>> from mobileone.data.open import open_data
    >>> image_name(open_data("digits", split="val"), 3)
    'digits/val/3'
    """
    if isinstance(source, Subset):
        return image_name(source.whole, int(source.indices[index]))
    files: Any = getattr(source, "files", None)
    if files is None:
        return source.name(index)
    root = getattr(source, "root", None)
    if isinstance(root, Path):
        split = root.name if root.name.lower() in SPLIT_NAMES else ""
    else:
        split = _split_of(source) or ""
    return printable(os.path.join(split, files[index]))


def _split_of(source: ImageSource) -> str | None:
    """The split that shards and hub sets know themselves to be, where a folder has it in its path."""
    return None if hasattr(source, "root") else getattr(source, "split", None)


def _bare_name(source: ImageSource, index: int) -> str | None:
    """The name without that split, as lists of folders without train and val have it."""
    if isinstance(source, Subset):
        return _bare_name(source.whole, int(source.indices[index]))
    files: Any = getattr(source, "files", None)
    return None if files is None or _split_of(source) is None else printable(files[index])


def _recorded(source: ImageSource, index: int) -> str:
    """What a run's record of its split says that the data folder calls an image; else nothing."""
    if isinstance(source, Subset):
        return _recorded(source.whole, int(source.indices[index]))
    return source.recorded[index] if isinstance(source, ImageFolder) and source.recorded else ""


def _names(source: ImageSource, index: int) -> set[str | None]:
    """All that a file may call an image."""
    bare, recorded = _bare_name(source, index), _recorded(source, index)
    return {image_name(source, index), source.name(index), bare, recorded}


def read_exclusions(path: str | Path) -> frozenset[str]:
    """Names of images to leave out: a CSV with a column `image`, as `check-labels` writes, or one a line.

    Raises:
        ConfigError: if it cannot be read, or names none.
    """
    try:
        text = read_regular(path, JSON_BYTES).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        raise ConfigError(f"cannot read the exclusions {path}: {error.strerror or error}") from error
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"the exclusions {path} are no CSV in UTF-8: {error}") from error
    if rows and "image" in rows[0]:
        column = rows[0].index("image")
        short = next((number for number, row in enumerate(rows, 1) if row and len(row) <= column), None)
        if short is not None:
            raise ConfigError(f"line {short} of the exclusions {path} has no column image")
        names = frozenset(row[column].removeprefix("'") for row in rows[1:] if row)
    else:
        names = frozenset(line.strip() for line in text.splitlines() if line.strip())
    if not names:
        raise ConfigError(f"the exclusions {path} name no image; a CSV has a column image, or a name a line")
    return names


def leave_out(path: str | Path, *sources: ImageSource, must_find: bool = True) -> tuple[Subset, ...]:
    """These sets without the images that a file names, by their paths below the folder, or whole ones.

    Args:
        path: of the file, as `read_exclusions` reads it.
        sources: the sets.
        must_find: refuse a file that names no image of any of them.

    Raises:
        ConfigError: if the file cannot be read, or a set streams, in an order of its own.
        DataError: if no image of any set is named, none is left in one, or a name is one in several sets.
    """
    names = read_exclusions(path)
    bare = Counter(
        n for source in sources for n in {_bare_name(source, i) for i in range(len(source))} & names
    )
    twice = next((name for name, number in bare.items() if number > 1), None)
    if twice is not None:
        raise DataError(
            f"{path} names {printable(twice)}, which is in train and in val; begin it with its split, as "
            f"train/{printable(twice)}"
        )
    parts: list[Subset] = []
    found: set[str] = set()
    for source in sources:
        if isinstance(source, StreamedSource):
            raise ConfigError(
                f"exclusions are for folders and lists; pack shards without those of {path}, and leave out "
                "stream=true of a data set of the hub"
            )
        kept = []
        for index in range(len(source)):
            matching = names & _names(source, index)
            found |= matching
            if not matching:
                kept.append(index)
        if len(source) and not kept:
            raise DataError(f"{path} leaves no image of {len(source)}")
        said = (f"{len(source) - len(kept)} of {len(source)} images left out by {path}",)
        parts.append(Subset(source, np.array(kept, np.int64), (*notes_of(source), *said)))
    if must_find and not found:
        raise DataError(
            f"none of the {len(names)} names of {path} is an image here, the first is "
            f"{printable(min(names))}; they are paths below the data folder, such as train/cat/1.jpg, or "
            "cat/1.jpg where it has no train and val"
        )
    return tuple(parts)
