"""The image files that a word of a command line stands for: a file, those below a folder, those of a list."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mobileone.data.folder import image_files
from mobileone.data.layout import find_files, ignored_text
from mobileone.data.list_rows import is_list, read_image_paths
from mobileone.data.shards.address import is_shards
from mobileone.errors import ConfigError
from mobileone.outside_text import printable


def named_files(word: str, *, on_note: Callable[[str], None]) -> list[str] | None:
    """Their paths; None where it names shards.

    Args:
        word: an image file, there or not; a folder, of which all images below it are meant; a list of images
            (.csv, .json, .jsonl); or shards.
        on_note: told of files that are no images.

    Raises:
        ConfigError: on a folder that holds shards alone.
        DataError: if a folder has no images, or a list cannot be read.
    """
    if os.path.isdir(word):
        return _below(word, on_note)
    if is_list(word):
        return read_image_paths(word)
    return None if ".tar" in word and not word.endswith(".tar/") and is_shards(word) else [word]


def _below(folder: str, on_note: Callable[[str], None]) -> list[str]:
    found = find_files(folder)
    if not found.images and any(Path(folder).glob("*.tar")):
        raise ConfigError(
            f"{printable(folder)} holds shards; name those that are meant, such as "
            f"{printable(folder)}/val-{{000000..000007}}.tar"
        )
    if ignored := ignored_text(found.ignored):
        on_note(f"{printable(folder)}: {ignored}")
    if not found.images:
        image_files(folder)  # which says that there is none
    return [os.path.join(folder, path) for path in found.images]
