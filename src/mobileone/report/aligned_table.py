"""Tables as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def aligned_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, num_text: int) -> str:
    """Columns of aligned text, the first `num_text` to the left."""
    everything = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if i < num_text else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in everything
    )
    return "\n".join(lines)
