"""What the C library does with memory that tensors give back. Imports no torch."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Names and numbers of glibc's <malloc.h>.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
USUAL_MMAP_MAX = 65536
# What glibc's own adjustment of the two ends at.
USUAL_MMAP_THRESHOLD, USUAL_TRIM_THRESHOLD = 32 << 20, 64 << 20
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")


_lock = threading.Lock()
_open_blocks = 0


@contextmanager
def kept_heap() -> Iterator[None]:
    """Within the block the process keeps memory that is freed, for what is allocated next.

    By itself glibc gives large blocks, and what is free at the end of the heap, back to the system, which
    hands it out again page by page, each emptied first: every activation of every step (docs/online.md has
    the figures). The process then holds what a step needs at most until the block, or the last of several
    that are open, ends. Elsewhere than with glibc, and where the environment says what malloc is to do,
    nothing is changed.
    """
    library = _glibc()
    if library is None:
        yield
        return
    _count(library, 1)
    try:
        yield
    finally:
        _count(library, -1)


def _count(library: ctypes.CDLL, change: int) -> None:
    """Note a block that begins or ends; the first and the last change what malloc does."""
    global _open_blocks
    with _lock:
        was_open, _open_blocks = _open_blocks, _open_blocks + change
        if not was_open:
            library.mallopt(MMAP_MAX, 0)  # mallopt(3) promises no threshold above 32 MiB
            library.mallopt(TRIM_THRESHOLD, -1)
        elif not _open_blocks:
            library.mallopt(MMAP_MAX, USUAL_MMAP_MAX)
            library.mallopt(MMAP_THRESHOLD, USUAL_MMAP_THRESHOLD)
            library.mallopt(TRIM_THRESHOLD, USUAL_TRIM_THRESHOLD)
            library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The process's C library, if it is glibc and nobody has set its malloc."""
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if not sys.platform.startswith("linux") or tuned or any(name in os.environ for name in VARIABLES):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
