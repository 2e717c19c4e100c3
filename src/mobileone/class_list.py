"""The names of a network's classes, in the order of its outputs. Imports no torch."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mobileone.errors import ConfigError
from mobileone.limits import CLASSES, JSON_BYTES
from mobileone.outside_text import printable
from mobileone.regular_file import parse_json_text, read_regular


def read_class_list(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names from a file: a name a line in UTF-8, or a JSON list (`.json`); the first is class 0.

    Raises:
        ConfigError: if it cannot be read, a name is empty or there twice, or there is none.
    """
    try:
        content = read_regular(path, JSON_BYTES)
        if Path(path).suffix.lower() == ".json":
            names = parse_json_text(content)
        else:
            names = [line.strip() for line in content.decode("utf-8-sig").rstrip().splitlines()]
    except OSError as error:
        raise ConfigError(f"cannot read the class list {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"the class list {path} is not UTF-8 text or JSON: {error}") from error
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        raise ConfigError(f"the class list {path} must hold a name a line, or a JSON list of names")
    if len(names) > CLASSES.value:
        raise ConfigError(f"the class list {path} has {len(names)} names, over the limit of {CLASSES}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(f"the class list {path} has {printable(twice[0])} twice")
    return tuple(names)


def guessed_order(names: Sequence[str]) -> str:
    """What is to be said where the order of classes is that of their folders, for nobody knows the network's.

    >>> guessed_order(["cat", "dog"])
    'the model has no class names: the folders in text order are taken for its classes (cat, dog)'
    """
    said = (
        "the model has no class names: the folders in text order are taken for its classes "
        f"({_shortened(names)})"
    )
    natural = sorted(names, key=_natural)
    if natural == list(names):
        return said
    return (
        f"warning: {said}; if it was trained in natural order ({_shortened(natural)}) this is wrong: "
        "give the list of classes"
    )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts numbers inside names by their value."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _shortened(names: Sequence[str]) -> str:
    shown = [printable(name) for name in names]
    return ", ".join(shown if len(shown) <= 5 else [*shown[:3], "…", shown[-1]])
