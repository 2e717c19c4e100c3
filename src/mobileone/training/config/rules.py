"""How a configuration refuses a value. Imports no torch."""

from __future__ import annotations

import math

from mobileone.errors import ConfigError


def require(field: str, holds: bool, wanted: str, got: object) -> None:
    """Refuse a value.

    Raises:
        ConfigError: unless it holds.

    >>> require("epochs", 0 >= 1, "at least 1", 0)
    Traceback (most recent call last):
    mobileone.errors.ConfigError: epochs must be at least 1, got 0
    """
    if not holds:
        raise ConfigError(f"{field} must be {wanted}, got {got!r}")


def require_choice(field: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        ConfigError: then.
    """
    require(field, value in choices, f"one of {', '.join(map(str, choices))}", value)


def is_finite_from(value: float, least: float) -> bool:
    """Whether `value` is a finite number and at least `least`; NaN is not.

    >>> [is_finite_from(value, 0) for value in (0, -1, math.inf, math.nan)]
    [True, False, False, False]
    """
    return least <= value < math.inf
