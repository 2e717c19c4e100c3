"""Write a file, or several that belong together, whole or not at all. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mobileone.errors import ConfigError, MobileOneError

_MARK = ".unfinished-"


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `target`; on a clean exit it is flushed to disk and takes target's place.

    On an exception the temporary file is removed and `target` stays as it was.

    Args:
        target: the file to write; its folder is made where missing.

    Raises:
        MobileOneError: if the folder cannot be written.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "a.txt") as path:
    ...     _ = path.write_text("whole")
    >>> [p.name for p in folder.iterdir()]
    ['a.txt']
    """
    import tempfile  # and three more are not loaded by who only reads

    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}{_MARK}", suffix=target.suffix
        )
    except OSError as error:
        raise MobileOneError(f"cannot write {target}: {error.strerror or error}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        rename_durably(temporary, target)
    except OSError as error:
        raise MobileOneError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def rename_durably(source: Path, target: Path) -> None:
    """Rename within a folder, so that the new name outlives a power cut too."""
    source.replace(target)
    if os.name == "posix":  # Windows cannot open a folder, and needs no flush of one
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def leftovers(folder: Path) -> list[Path]:
    """Temporary files of `atomic_path` that a killed process left in `folder`."""
    return [path for path in folder.glob(f".*{_MARK}*") if path.is_file()]


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A folder beside `target` to write it in; what is in it on a clean exit takes its place there.

    Files of the same names are replaced, the one that sorts last at the end: a manifest, `NAME.json`, after
    the `NAME` it describes. On an exception the folder goes, and nothing else has changed.

    Raises:
        MobileOneError: if the folder of `target` cannot be written.
    """
    import shutil
    import tempfile

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise MobileOneError(f"cannot write {target}: {error.strerror or error}") from error
    try:
        yield folder
        for made in sorted(folder.iterdir()):
            _replace(made, target.parent / made.name)
    except OSError as error:
        raise MobileOneError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(made: Path, target: Path) -> None:
    if target.is_dir():  # a folder is not replaced in one step
        import shutil

        shutil.rmtree(target)
    made.replace(target)


def refuse_existing(*targets: Path, force: bool) -> None:
    """Nothing is overwritten by accident.

    Raises:
        ConfigError: if one exists, without `force`.
    """
    for target in targets:
        if target.exists() and not force:
            raise ConfigError(f"{target} exists already; pass force=True to overwrite it")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
