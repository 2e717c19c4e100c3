"""Bars as HTML, and the size of charts. No script, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

# Of an SVG chart and its margins, in the units of its viewBox.
WIDTH, HEIGHT = 900, 520
LEFT, RIGHT, TOP, BOTTOM = 84, 20, 36, 66


def bar_list(entries: Iterable[tuple[str, list[tuple[float, str, str]]]]) -> str:
    """Named bars: (name, [(share of the longest, text, CSS class)])."""
    lines = ['<div class="bars">']
    for name, values in entries:
        tracks = "".join(
            f'<div class="track"><div class="bar{kind}" style="--share:{share:.4f}"></div>'
            f'<span class="value">{escape(text)}</span></div>'
            for share, text, kind in values
        )
        lines.append(f'<div class="name">{escape(name)}</div><div>{tracks}</div>')
    return "\n".join([*lines, "</div>"])
