"""Files that a command will write: which may be, said before the work is done."""

from __future__ import annotations

from pathlib import Path

from mobileone.errors import ConfigError, MobileOneError


def refuse_existing(*targets: Path, force: bool) -> None:
    """Nothing is overwritten by accident, and that is said before any work is done.

    Raises:
        ConfigError: if one exists, without `force`.
    """
    for target in targets:
        if target.exists() and not force:
            raise ConfigError(f"{target} exists already; pass --force to overwrite it")


def require_target(path: Path, suffix: str) -> None:
    """Raise where a file could not be written later.

    Raises:
        ConfigError: on another suffix.
        MobileOneError: if the file or its folder cannot be written.
    """
    if path.suffix.lower() != suffix:
        raise ConfigError(f"the file must end in {suffix}, got {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        existed = path.exists()
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise MobileOneError(f"cannot write {path}: {error.strerror or error}") from error
