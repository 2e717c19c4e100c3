"""The newest few resume files of a run, in a folder of their own: written whole, checked by their hash.

A file is called `epoch-003-step-00001200-<16 hex digits>.pt`: the finished epochs and steps behind it, and
the start of its SHA-256. So name and content come into being in one rename, and a file that was torn or
altered is told by its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileone.atomic import leftovers, rename_durably
from mobileone.checkpoint.store import load_state, save_state
from mobileone.errors import CheckpointError, MobileOneError
from mobileone.file_hash import sha256_of_path

_NAME = re.compile(r"epoch-(\d{3,})-step-(\d{8,})-([0-9a-f]{16})\.pt")
_DRAFT = "draft.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestResumeFile:
    """What `Rotation.newest` found.

    Attributes:
        path: the file.
        state: what it holds.
        damaged: a line for each newer file that could not be used.
    """

    path: Path
    state: dict[str, Any]
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rotation:
    """A folder of resume files, of which the newest `keep` stay.

    Attributes:
        path: the folder.
        keep: at least 1; with 2 or more, a damaged file costs the steps since the one before it.

    >>> import tempfile
    >>> rotation = Rotation(Path(tempfile.mkdtemp()), keep=2)
    >>> for step in (10, 20, 30):
    ...     _ = rotation.save({"step": step}, epoch=step // 25, step=step)
    >>> [path.name[:23] for path in rotation.files()], rotation.newest().state
    (['epoch-001-step-00000030', 'epoch-000-step-00000020'], {'step': 30})
    """

    path: Path
    keep: int = 2

    def files(self) -> list[Path]:
        """The resume files, newest first."""
        if not self.path.is_dir():
            return []
        named = [path for path in self.path.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(named, key=_position, reverse=True)

    def save(self, state: Mapping[str, Any], *, epoch: int, step: int) -> Path:
        """Write a resume file, then remove those that are one too many.

        A file of a later position is removed too: it belongs to a course that this run has left.

        Args:
            state: as `save_state` takes it.
            epoch: finished epochs.
            step: steps of the whole run.

        Raises:
            MobileOneError: if it cannot be written; the files before it stay.
        """
        draft = save_state(state, self.path / _DRAFT)
        try:
            target = self.path / f"epoch-{epoch:03d}-step-{step:08d}-{_digest(draft)}.pt"
            rename_durably(draft, target)
            others = [path for path in self.files() if path != target]
            older = [path for path in others if _position(path) <= (epoch, step)]
            later = [path for path in others if _position(path) > (epoch, step)]
            for path in [*later, *older[max(self.keep, 1) - 1 :]]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise MobileOneError(f"cannot write in {self.path}: {error.strerror or error}") from error
        return target

    def newest(self) -> NewestResumeFile | None:
        """The newest file that is as it was written; None if there is no file at all.

        Raises:
            CheckpointError: if there are files, and none can be used.
        """
        damaged: list[str] = []
        for path in self.files():
            try:
                self.check(path)
                return NewestResumeFile(path=path, state=load_state(path), damaged=tuple(damaged))
            except CheckpointError as error:
                damaged.append(str(error))
        if damaged:
            raise CheckpointError(
                f"none of the {len(damaged)} checkpoints in {self.path} can be used; the newest: {damaged[0]}"
            )
        return None

    def check(self, path: Path) -> None:
        """Compare a file with the hash in its name.

        Raises:
            CheckpointError: if they differ, or the file cannot be read.
        """
        try:
            digest = _digest(path)
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
        if digest not in path.name:
            raise CheckpointError(f"{path} is torn or damaged: its SHA-256 starts with {digest}")

    def sweep(self) -> None:
        """Remove what a killed process left half written. Only the one process that owns the run may."""
        for path in [*leftovers(self.path), self.path / _DRAFT]:
            path.unlink(missing_ok=True)


def _position(path: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2])


def _digest(path: Path) -> str:
    return sha256_of_path(path)[:16]
