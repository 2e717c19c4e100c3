"""Where what was fetched, and what was compiled, is kept. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "MOBILEONE_CACHE"


def cache_dir() -> Path:
    """$MOBILEONE_CACHE, else $XDG_CACHE_HOME/mobileone, else ~/.cache/mobileone."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mobileone"
