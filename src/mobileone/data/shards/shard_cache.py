"""Shards from elsewhere, kept on this machine while they are used: fetched once, checked, bounded in size.

Files are named by the hash of their content, or of what it is a function of, so the same shard under another
address is the same file and a changed one is another. All processes of a machine share them; a lock a shard
lets one process fetch it.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from mobileone.cache import cache_dir
from mobileone.data.shards.remote import open_remote, patiently
from mobileone.errors import ConfigError, DataError
from mobileone.limits import FETCH_SECONDS

LIMIT_VARIABLE = "MOBILEONE_SHARD_CACHE_GB"
DEFAULT_LIMIT_GB = 64.0
FETCH_THREADS = 4
OPEN_TRIES = 10
KEPT = (".tar", ".arrow")
"""Suffixes of what the folder holds."""


class Fetchable(Protocol):
    """What the cache can keep: a tar file, or a part of a file that is large."""

    @property
    def address(self) -> str:
        """What errors call it."""

    @property
    def size(self) -> int:
        """Of its file in the cache, about, bytes."""

    @property
    def file_name(self) -> str:
        """Of its file in the cache: the same for the same content, with a suffix of `KEPT`."""

    def fetch(self, path: Path, until: float) -> None:
        """Write it there, by `until` of `time.monotonic`. Raises DataError if it is not what it should be."""


@dataclass(frozen=True, slots=True)
class RemoteShard:
    """A shard that is not on this machine.

    Attributes:
        address: URL or pipe.
        size: of the tar file, bytes, by its index.
        sha256: of the tar file, by its index.
    """

    address: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        """By its content."""
        return f"{self.sha256}.tar"

    def fetch(self, path: Path, until: float) -> None:
        """Write it there.

        Raises:
            DataError: if it cannot be read, or is not what its index says.
        """
        digest, received = hashlib.sha256(), 0
        with open_remote(self.address, until=until) as chunks, path.open("wb") as file:
            for chunk in chunks:
                received += len(chunk)
                if received > self.size:
                    break
                digest.update(chunk)
                file.write(chunk)
        if received != self.size or digest.hexdigest() != self.sha256:
            much = f"{received} bytes" if received <= self.size else f"more than {self.size} bytes"
            raise DataError(
                f"{self.address} is not the shard of its index: got {much} of SHA-256 "
                f"{digest.hexdigest()[:12]}…, not {self.size} of {self.sha256[:12]}…; it is torn, or "
                "the index is another's"
            )


class ShardCache:
    """A folder of fetched shards, the least recently opened removed beyond a limit.

    Args:
        folder: None is `shards` in $MOBILEONE_CACHE (else ~/.cache/mobileone).
        limit_bytes: None is $MOBILEONE_SHARD_CACHE_GB · 1e9, by default 64 GB. What is being opened is kept
            even where it alone is more.

    Raises:
        ConfigError: if the variable is not a number above 0.
    """

    def __init__(self, folder: Path | None = None, *, limit_bytes: float | None = None) -> None:
        self.folder = folder or cache_dir() / "shards"
        self.limit_bytes = _limit() if limit_bytes is None else limit_bytes
        self._wanted: queue.SimpleQueue[Fetchable] = queue.SimpleQueue()
        self._known: set[str] = set()
        self._threads: list[threading.Thread] = []

    def __reduce__(self) -> tuple[type[ShardCache], tuple[Path], dict[str, float]]:
        # Threads stay behind when workers get a copy.
        return (type(self), (self.folder,), {"limit_bytes": self.limit_bytes})

    def path(self, shard: Fetchable) -> Path:
        """Where a shard is in the cache; it is fetched if it is not there.

        Raises:
            DataError: if it cannot be fetched, is not what its index says, or there is no room.
        """
        target = self._target(shard)
        try:
            if not _touch(target):
                self.folder.mkdir(parents=True, exist_ok=True)
                with FileLock(target.with_suffix(".lock"), timeout=2 * FETCH_SECONDS.value):
                    if not _touch(target):
                        patiently(lambda until: self._fetch(shard, target, until))
        except Timeout:
            raise DataError(
                f"cannot fetch {shard.address}: another process holds the lock beside {target}"
            ) from None
        except OSError as error:
            raise DataError(
                f"cannot keep {shard.address} in {self.folder}: {error.strerror or error}; choose another "
                f"folder by $MOBILEONE_CACHE, or a limit by ${LIMIT_VARIABLE}"
            ) from None
        return target

    def open(self, shard: Fetchable) -> int:
        """File descriptor of a shard, as `path`; it stays readable when the file is removed.

        Raises:
            DataError: as `path`.
        """
        for _ in range(OPEN_TRIES):
            try:
                return os.open(self.path(shard), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # another process made room in this very moment
                continue
        raise DataError(
            f"{shard.address} is removed from {self.folder} as soon as it is there; raise ${LIMIT_VARIABLE}"
        )

    def expect(self, shards: Iterable[Fetchable]) -> None:
        """Start to fetch shards that will be needed, in threads of this process; returns at once."""
        for shard in shards:
            if shard.file_name in self._known or self._target(shard).exists():
                continue
            self._known.add(shard.file_name)
            self._wanted.put(shard)
            if len(self._threads) < FETCH_THREADS:
                thread = threading.Thread(target=self._fetch_wanted, daemon=True, name="shards")
                self._threads.append(thread)
                thread.start()

    def _fetch_wanted(self) -> None:
        while True:
            shard = self._wanted.get()
            try:
                self.path(shard)
            except DataError:
                pass  # whoever needs it tries again, and tells
            finally:
                self._known.discard(shard.file_name)  # it may be removed, and wanted again in another epoch

    def _target(self, shard: Fetchable) -> Path:
        return self.folder / shard.file_name

    def _fetch(self, shard: Fetchable, target: Path, until: float) -> None:
        self._make_room(shard.size)
        # One name, so that what a killed process leaves is written over, not added to.
        part = target.with_suffix(".part")
        try:
            shard.fetch(part, until)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        kept = sorted(
            (
                (info.st_mtime_ns, info.st_size, path)
                for path in self.folder.iterdir()
                if path.suffix in KEPT and (info := _stat(path))
            ),
            reverse=True,
        )
        total = float(size)
        for _, own, path in kept:
            total += own
            if total > self.limit_bytes:
                path.unlink(missing_ok=True)  # a process that has it open reads on


def _limit() -> float:
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_LIMIT_GB))
    try:
        limit = float(text) * 1e9
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise ConfigError(f"${LIMIT_VARIABLE} must be a number of gigabytes above 0, got {text!r}")
    return limit


def _touch(path: Path) -> bool:
    """Note that it is in use; False if it is not there."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # another process removed it
        return None
