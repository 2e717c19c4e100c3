"""Fonts of this machine for characters that matplotlib's own does not have. Imports matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from matplotlib import font_manager
from matplotlib.font_manager import FontEntry, FontProperties

REGULAR = 400
# Draws a box with a number for every character there is.
PLACEHOLDER = "Last Resort"


def fonts_for(text: str) -> tuple[list[str], str]:
    """Families that together have the characters of a text, and the characters that none of them has.

    The first ones are matplotlib's own; others are named only where these lack something.

    >>> fonts_for("accuracy")
    (['DejaVu Sans'], '')
    """
    usual = FontProperties().get_family()
    families = [font_manager.get_font(path).family_name for path in _paths(usual)]
    missing = {character for character in text if character.isprintable() and not character.isspace()}
    for path in _paths(usual):
        missing -= _characters(path)
    for entry in _regular() if missing else ():
        found = missing & _characters(entry.fname)
        if found:
            families.append(entry.name)
            missing -= found
    return families, "".join(sorted(missing))


def _paths(families: list[str]) -> list[str]:
    return [font_manager.findfont(FontProperties(family=families))]


def _regular() -> Iterator[FontEntry]:
    """The upright fonts of usual weight, a family once, by name."""
    entries = [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and not entry.name.startswith(PLACEHOLDER)
    ]
    seen: set[str] = set()
    for entry in sorted(entries, key=lambda entry: (entry.name, abs(_weight(entry) - REGULAR))):
        if entry.name not in seen:
            seen.add(entry.name)
            yield entry


def _weight(entry: FontEntry) -> int:
    return entry.weight if isinstance(entry.weight, int) else REGULAR


@cache
def _characters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError):  # a font that matplotlib cannot open is none
        return frozenset()
