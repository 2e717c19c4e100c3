"""What several commands' arguments have in common: how lists are written, which formats there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec

from mobileone.backends.table import Precision, writing


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


def format_choice(precision: Precision) -> Any:
    """For `Annotated[str | None, format_choice("int8")]`: a backend that is written so, shown and checked.

    The table is read when the command line is parsed, so that whatever it holds then is allowed.
    """

    def choices() -> Any:
        return Literal[tuple(writing(precision))] | None

    return arg(constructor_factory=choices, help_behavior_hint="(default: None)")
