"""Which files of this machine a data set may name as its images: a stranger wrote the paths in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def own_places(folder: Path | None) -> tuple[Path, ...]:
    """Folders whose files are a data set's own.

    Args:
        folder: of a set on this machine, which is its place, with what the library unpacked of its archives;
            None is one of the hub, whose files lie in the caches of the hub and of the library.
    """
    from datasets import config
    from huggingface_hub import constants

    kept = Path(config.HF_DATASETS_CACHE)
    if folder is not None:
        return folder, kept / "downloads" / "extracted"
    return Path(constants.HF_HUB_CACHE), kept


def path_inside(path: str, places: Sequence[Path]) -> str | None:
    """Where a path leads, all links followed; None if that is in none of the folders.

    >>> path_inside("/etc/passwd", [Path("/home")]) is None
    True
    """
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(os.path.realpath(place)) for place in places):
        return str(real)
    return None
