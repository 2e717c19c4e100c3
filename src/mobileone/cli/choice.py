"""Arguments whose choices stand in a table."""

from __future__ import annotations

from typing import Any, Literal

from tyro.conf import arg

from mobileone.backends.table import Precision, writing


def format_choice(precision: Precision) -> Any:
    """For `Annotated[str | None, format_choice("int8")]`: a backend that is written so, shown and checked.

    The table is read when the command line is parsed, so that whatever it holds then is allowed.
    """

    def choices() -> Any:
        return Literal[tuple(writing(precision))] | None

    return arg(constructor_factory=choices, help_behavior_hint="(default: None)")
