"""Files that a command will write: which may be, said before the work is done."""

from __future__ import annotations

from pathlib import Path

from mobileone.errors import ConfigError, MobileOneError
from mobileone.regular_file import open_regular
from mobileone.report.figure import SOFTWARE
from mobileone.report.page import POLICY

# What stands near the start of a picture and of a page that this package made, and of no photo.
OWN_MARKS = {".png": f"Software\0{SOFTWARE['Software']}".encode(), ".html": POLICY.encode()}
START_BYTES = 1024


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


def require_drawing(path: Path, suffix: str) -> None:
    """Raise where a picture or page could not be written later, or would replace anything but an earlier one.

    Commands are run again, so their charts take no --force; a photo, a model or somebody's own page is kept.

    Raises:
        ConfigError: on another suffix, or a file there that this package did not make.
        MobileOneError: if the file or its folder cannot be written, or the file cannot be read.
    """
    require_target(path, suffix)
    if not path.exists():
        return
    try:
        with open_regular(path) as file:
            start = file.read(START_BYTES)
    except OSError as error:
        raise MobileOneError(f"cannot replace {path}: {error.strerror or error}") from error
    if start and OWN_MARKS[suffix] not in start:
        raise ConfigError(
            f"{path} exists already and was not drawn by mobileone; name another file, or remove it"
        )
