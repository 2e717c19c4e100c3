"""Self-contained HTML pages in one style: tiles, tables that sort, pictures inside. Nothing is loaded.

Imports no torch.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

Cell = tuple[str, float | int | str | None]
"""What a cell shows, and what its column is sorted by."""

# The browser itself then refuses to load anything.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def document(title: str, body: Iterable[str]) -> str:
    """A whole page around its body: style, sorting of tables, and nothing that loads.

    Args:
        title: plain text.
        body: HTML, piece by piece.
    """
    own = files("mobileone.report")
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{own.joinpath('page.css').read_text(encoding='utf-8')}</style>",
            "</head>\n<body>",
            *body,
            f"<script>\n{own.joinpath('page.js').read_text(encoding='utf-8')}</script>",
            "</body>\n</html>\n",
        ]
    )


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """Large figures with their names, (figure, name) each.

    >>> tiles([("71.4 %", "top-1")])
    '<div class="tiles"><div class="tile"><b>71.4 %</b><span>top-1</span></div></div>'
    """
    inner = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in values
    )
    return f'<div class="tiles">{inner}</div>'


def sortable_table(header: Sequence[str], body: Sequence[Sequence[Cell]], *, text: Sequence[str]) -> str:
    """A table that sorts by any column.

    Args:
        header: names of the columns.
        body: rows of cells.
        text: columns that hold words, not numbers.
    """
    kinds = [' class="text"' if name in text else "" for name in header]
    head = "".join(
        f'<th scope="col"{kind}><button type="button">{escape(name)}</button></th>'
        for name, kind in zip(header, kinds, strict=True)
    )
    lines = []
    for cells in body:
        line = "".join(
            f'<td{kind} data-value="{escape(_sort_value(value, numeric=not kind))}">{escape(shown)}</td>'
            for (shown, value), kind in zip(cells, kinds, strict=True)
        )
        lines.append(f"<tr>{line}</tr>")
    rows = "\n".join(lines)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'
    )


def picture(png: bytes, *, alt: str) -> str:
    """A PNG inside the page.

    >>> picture(b"", alt="curves")
    '<img alt="curves" src="data:image/png;base64,">'
    """
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _sort_value(value: float | int | str | None, *, numeric: bool) -> str:
    if value is None:
        return "-1" if numeric else ""
    return f"{value:.12g}" if isinstance(value, float) else str(value)
