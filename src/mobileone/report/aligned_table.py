"""Tables as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mobileone.outside_text import printable


def aligned_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, num_text: int | None = None
) -> str:
    """Columns of aligned text, a line a row whatever is in the cells.

    Args:
        header: names of the columns.
        rows: of cells, as many as the header.
        num_text: columns that are laid to the left; the others go to the right. By default the first does,
            and every other that does not hold numbers alone.

    >>> print(aligned_table(["name", "n"], [["a", "10"], ["bcd", "7"]]))
    name   n
    a     10
    bcd    7
    """
    everything = [[printable(cell) for cell in row] for row in (header, *rows)]
    columns = list(zip(*everything, strict=True))
    widths = [max(map(len, column)) for column in columns]
    if num_text is None:
        to_right = [i > 0 and all(map(_is_number, column[1:])) for i, column in enumerate(columns)]
    else:
        to_right = [i >= num_text for i in range(len(columns))]
    lines = (
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, to_right, strict=True)
        ).rstrip()
        for row in everything
    )
    return "\n".join(lines)


def _is_number(text: str) -> bool:
    return text == "–" or text.replace(",", "").replace(".", "", 1).isdigit()
