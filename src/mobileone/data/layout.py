"""Which folders are splits, which files are images, and what of a data folder is nobody's."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

from mobileone.errors import DataError
from mobileone.outside_text import printable

Split = Literal["train", "val"]

IMAGE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
)
"""Of every format that is decoded; the content decides which it is."""

VALIDATION = ("val", "valid", "validation")
TESTING = ("test", "eval", "dev")
SPLIT_NAMES = ("train", *VALIDATION, *TESTING)

# What operating systems, file servers and archivers leave behind; names that start with a dot besides.
SYSTEM_NAMES = (
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "#recycle",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
)


class FoundFiles(NamedTuple):
    """What is below a folder.

    Attributes:
        images: paths of files that are images by their names, sorted.
        ignored: number of other files, by suffix.
    """

    images: list[str]
    ignored: Counter[str]


def find_files(folder: str | Path) -> FoundFiles:
    """Every image below a folder, as paths relative to it, and how many other files there are.

    Symbolic links are followed; hidden files and folders, and those of operating systems, are not looked at.

    Raises:
        DataError: if one of the folders cannot be read.
    """
    images, ignored = [], Counter[str]()
    for path in _files(Path(folder)):
        if is_image_name(path):
            images.append(path)
        else:
            ignored[os.path.splitext(path)[1].lower()] += 1
    return FoundFiles(sorted(images), ignored)


def is_image_name(name: str) -> bool:
    """Whether a file's name is that of an image.

    >>> is_image_name("a/IMG_1.JFIF"), is_image_name("a/IMG_1.heic")
    (True, False)
    """
    return name.lower().endswith(IMAGE_EXTENSIONS)


def is_seen(name: str) -> bool:
    """Whether a file or folder is a user's: not hidden, and not an operating system's.

    >>> is_seen("cat"), is_seen(".git"), is_seen("__MACOSX")
    (True, False, False)
    """
    return not name.startswith(".") and name.lower() not in SYSTEM_NAMES


def ignored_text(ignored: Mapping[str, int]) -> str:
    """Files that were not looked at, by suffix, the most first; empty if there are none.

    >>> ignored_text({".txt": 1, ".heic": 12, "": 2})
    'not looked at: 12 .heic, 2 without suffix, 1 .txt'
    """
    if not ignored:
        return ""
    ordered = sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    listed = [f"{number} {printable(suffix) or 'without suffix'}" for suffix, number in ordered]
    return f"not looked at: {', '.join(listed)}"


def folders_in(root: Path) -> list[str]:
    """Names of the folders in a folder that are a user's, sorted.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and is_seen(entry.name))
    except OSError as error:
        _refuse_unlisted(error)


def splits_in(root: Path) -> dict[str, str]:
    """The folders in a folder that are splits by their names: known name to name as it is there.

    >>> splits_in(Path("/nowhere"))
    {}
    """
    if not root.is_dir():
        return {}
    found: dict[str, str] = {}
    for name in folders_in(root):
        if name.lower() in SPLIT_NAMES and (name.islower() or name.lower() not in found):
            found[name.lower()] = name
    return found


def split_folder(root: Path, split: Split | None, classes: Collection[str] | None) -> tuple[Path, list[str]]:
    """The folder that holds a split's class folders, and what is to be said about its choice.

    Args:
        root: the data folder.
        split: which part, or None for a folder that is one.
        classes: known names; a folder of such a name is a class, not a split.

    Raises:
        DataError: if it is not there, or cannot be told.
    """
    if not root.is_dir():
        raise DataError(f"no such data folder: {printable(root)}; give the folder that holds train/ and val/")
    splits = {known: name for known, name in splits_in(root).items() if name not in (classes or ())}
    if split is None:
        if splits:
            raise DataError(
                f"{printable(root)} holds {_listed(splits.values())}, which are splits by their names; "
                "give one of them, or say which split"
            )
        return root, []
    if split in splits:
        return root / splits[split], []
    if split == "val":
        for names in (VALIDATION, TESTING):
            there = [splits[name] for name in names if name in splits]
            if len(there) > 1:
                raise DataError(
                    f"{printable(root)} has {_listed(there)} and no val/, so which is meant cannot be told; "
                    f"give that folder itself, {printable(root / there[0])} say"
                )
            if there:
                _refuse_mixture(root, there[0], splits)
                return root / there[0], [f"{printable(root)} has no val/; {there[0]}/ is used"]
        if not splits:
            return root, []
    found = f", but {_listed(splits.values())}" if splits else ""
    example = printable(root / split)
    raise DataError(f"{printable(root)} has no {split}/ folder{found}; expected {example}/<class>/*.jpg")


def _refuse_mixture(root: Path, chosen: str, splits: Mapping[str, str]) -> None:
    """A folder called test, say, beside what may be classes may be one itself."""
    others = [name for name in folders_in(root) if name not in splits.values()]
    if "train" not in splits and any(find_files(root / name).images for name in others):
        raise DataError(
            f"{printable(root)} holds {_listed(others)} beside {chosen}/, which is a split by its name "
            f"but may be a class; rename it, or give {printable(root / chosen)} itself"
        )


def _listed(names: Collection[str]) -> str:
    shown = [f"{printable(name)}/" for name in names][:3]
    return " and ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _files(folder: Path) -> Iterator[str]:
    """Paths relative to `folder` of the files below it."""
    ways: dict[str, tuple[str, ...]] = {os.fspath(folder): (os.path.realpath(folder),)}  # real paths to each
    for base, folders, files in os.walk(folder, followlinks=True, onerror=_refuse_unlisted):
        # A link to a folder that is being walked would go round for ever.
        way = ways.pop(base)
        folders[:] = [name for name in folders if is_seen(name) and not _encloses(base, name, way)]
        for path in (os.path.join(base, name) for name in folders):
            ways[path] = (*way, os.path.realpath(path))
        relative = os.path.relpath(base, folder)
        for name in files:
            if is_seen(name):
                yield os.path.normpath(os.path.join(relative, name))


def _encloses(base: str, name: str, way: Collection[str]) -> bool:
    path = os.path.join(base, name)
    if not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    return any(here == target or here.startswith(os.path.join(target, "")) for here in way)


def _refuse_unlisted(error: OSError) -> NoReturn:
    """What is in a folder that cannot be read would be missing without a word."""
    where = printable(os.fspath(error.filename))
    raise DataError(f"{where} cannot be listed ({error.strerror or error}); let it be read, or remove it")
