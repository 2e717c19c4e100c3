"""Who is at work on which part: locks that end with the process that holds them, however it ends.

One empty file, a byte of it for each part: `fcntl`'s locks of byte ranges. Local disks have them, NFS, Lustre
and GPFS too where they are mounted with locks; they leave nothing behind, and need no process that keeps a
list. A part's lock says that its holder is at work on it; that of its byte behind `FAILED`, that the part
failed and whoever tried is still there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

from mobileone.errors import MobileOneError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SETTING_UP, FAILED = 2**40, 2**41
"""The byte of whoever writes the manifest, and the first of failed parts'; far behind those of the parts."""


class Claim(Enum):
    """What became of the wish to work on a part."""

    TAKEN = "taken"
    BUSY = "busy"
    FAILED = "failed"


class Claims:
    """The parts that this process has, and those that others have.

    Args:
        path: of the file; it is made where it is missing, and never has any content.

    Raises:
        MobileOneError: if it cannot be written.

    Attributes:
        work: whether there are locks here; without them every part can be taken, by everybody.
    """

    def __init__(self, path: Path) -> None:
        # Never closed before the process ends: closing one descriptor of a file ends all its locks.
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise MobileOneError(f"cannot write {path}: {error.strerror or error}") from error
        self.work = fcntl is not None and self._tried(SETTING_UP + 1)

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self._file)

    def take(self, number: int) -> Claim:
        """Have a part for this process, where nobody has it."""
        if not self.work:
            return Claim.TAKEN
        if not self._locked(number, exclusive=True):
            return Claim.BUSY
        # Shared, as others may ask at the same time.
        if not self._locked(FAILED + number, exclusive=False):
            self.release(number)
            return Claim.FAILED
        self.release(FAILED + number)
        return Claim.TAKEN

    def mark_failed(self, number: int) -> None:
        """Give up a part that this process has: others shall not try it while this process is there."""
        if self.work:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, FAILED + number)  # waits for whoever asks just now
            self.release(number)

    def release(self, number: int) -> None:
        """Nobody has the part."""
        if self.work:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """Alone for a moment; others wait."""
        if not self.work:
            yield
            return
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, SETTING_UP)
        try:
            yield
        finally:
            self.release(SETTING_UP)

    def _locked(self, number: int, *, exclusive: bool) -> bool:
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.lockf(self._file, kind | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):  # POSIX allows either for a lock that another process has
            return False
        return True

    def _tried(self, number: int) -> bool:
        """Whether the file system has such locks."""
        try:
            self._locked(number, exclusive=False)
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)
        except OSError:
            return False
        return True
