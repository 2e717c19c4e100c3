"""Where what was fetched, and what was compiled, is kept. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

from mobileone.errors import ConfigError

CACHE_VARIABLE = "MOBILEONE_CACHE"


def cache_dir() -> Path:
    """$MOBILEONE_CACHE, else $XDG_CACHE_HOME/mobileone, else ~/.cache/mobileone.

    Raises:
        ConfigError: if none is set and the user has no home folder.
    """
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mobileone"
    except RuntimeError as error:
        raise ConfigError(f"this user has no home folder to cache in; set ${CACHE_VARIABLE}") from error
