"""What several commands' arguments have in common: how lists are written, which files may be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec

from mobileone.backends.table import Precision, writing
from mobileone.errors import ConfigError, MobileOneError
from mobileone.input_spec import Size, parse_size, size_text


def comma_list(one: Callable[[str], object], what: str) -> PrimitiveConstructorSpec[tuple[object, ...]]:
    """How a tuple is written in one word, with commas between.

    Args:
        one: makes an entry of its text; a ValueError means that it cannot.
        what: what the entries are, for the complaint.

    >>> comma_list(int, "whole numbers").instance_from_str(["1, 2"])
    (1, 2)
    """

    def read(words: list[str]) -> tuple[object, ...]:
        try:
            return tuple(one(entry.strip()) for entry in words[0].split(",") if entry.strip())
        except ValueError as error:
            raise ValueError(f"{what} with commas, got {words[0]!r}") from error

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="A,B",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(map(str, value))],
    )


NAMES = comma_list(str, "names")
NUMBERS = comma_list(int, "whole numbers")


INPUT_SIZE = PrimitiveConstructorSpec[Size](
    nargs=1,
    metavar="SIDE|HxW",
    instance_from_str=lambda words: parse_size(words[0]),
    is_instance=lambda value: isinstance(value, int | tuple),
    str_from_instance=lambda value: [size_text(value)],
)
"""For `Annotated[Size, INPUT_SIZE]`: 224, or 256x192, height first."""


def format_choice(precision: Precision) -> Any:
    """For `Annotated[str | None, format_choice("int8")]`: a backend that is written so, shown and checked.

    The table is read when the command line is parsed, so that whatever it holds then is allowed.
    """

    def choices() -> Any:
        return Literal[tuple(writing(precision))] | None

    return arg(constructor_factory=choices, help_behavior_hint="(default: None)")


def refuse_existing(target: Path, *, force: bool) -> None:
    """Nothing is overwritten by accident, and that is said before any work is done.

    Raises:
        ConfigError: if `target` exists, without `force`.
    """
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
