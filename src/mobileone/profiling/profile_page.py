"""A profile as one self-contained HTML page: tables that sort, charts, roofline. Nothing is loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from mobileone.atomic import atomic_path
from mobileone.profiling.comparison import ProfileComparison
from mobileone.profiling.profile_charts import bars, paired_bars, roofline, roofs
from mobileone.profiling.profile_report import COUNT_SECTIONS, footnotes, row_cells, row_header
from mobileone.profiling.profile_result import By, ProfileResult, ProfileRow
from mobileone.report.page import Cell, document, sortable_table, tiles


def write_page(result: ProfileResult | ProfileComparison, path: str | os.PathLike[str]) -> Path:
    """Write the page of a profile, or of a comparison, to `path`; the path.

    Raises:
        MobileOneError: if the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(page(result), encoding="utf-8")
    return Path(path)


def page(result: ProfileResult | ProfileComparison) -> str:
    """One self-contained HTML document; it loads nothing."""
    if isinstance(result, ProfileComparison):
        title = f"{result.first.name} and {result.second.name}"
        body = [_comparison(result), *map(_sections, (result.first, result.second))]
    else:
        title, body = result.name, [_sections(result)]
    return document(f"Profile of {title}", [f"<h1>{escape(title)}</h1>", *body])


def _sections(profile: ProfileResult) -> str:
    of = f'<span class="of">{escape(profile.name)}</span>'
    parts = [_tiles(profile)]
    names: dict[By, str] = {"operator": "Operator types", "stage": "Stages", "layer": "Layers"}
    for by, name in names.items():
        rows = profile.rows(by)
        parts.append(f"<section><h2>{name} {of}</h2>")
        if len(rows) > 1:
            parts.append(bars(rows))
        parts.append(f"{_row_table(by, rows)}</section>")
    if profile.machine is not None:
        parts.append(f"<section><h2>Roofline {of}</h2>{_roofline(profile)}</section>")
    notes = "".join(f'<p class="soft">{escape(line)}</p>' for line in footnotes(profile))
    parts.append(f"<section><h2>How this was measured</h2>{notes}</section>")
    return "\n".join(parts)


def _tiles(profile: ProfileResult) -> str:
    title, unit = COUNT_SECTIONS[profile.convention]
    total = profile.total()
    values = [
        (f"{profile.latency_ms:.4g} ms", "whole run, median"),
        (f"{profile.time_ms:.4g} ms", "sum of operators"),
        (f"{profile.num_parameters:,}", "parameters"),
        (f"{profile.macs / 1e6:,.2f} M", "multiply-accumulates"),
        (f"{profile.count / 1e9:.4g} {unit}", f"{title}, {profile.convention}"),
        (f"{(total.bytes_read + total.bytes_written) / 1e6:,.2f} MB", "read and written"),
    ]
    return tiles(values)


def _roofline(profile: ProfileResult) -> str:
    assert profile.machine is not None
    lines = "; ".join(
        f"{'dashed' if far else 'solid'}: {name}, {speed:.3g} GB/s"
        for name, speed, far in roofs(profile.machine)
    )
    return (
        f"<figure>{roofline(profile)}"
        '<figcaption><div class="key">'
        '<span><i style="background:var(--arithmetic)"></i>bound by arithmetic</span>'
        '<span><i class="square" style="background:var(--memory)"></i>bound by memory</span>'
        f"<span>{escape(lines)}</span></div>"
        '<p class="soft">One mark a layer, larger the more time it takes. The flat roof is the fastest '
        "matmul measured here, the slopes are copies. Layers without multiply-accumulates are left out.</p>"
        "</figcaption></figure>"
    )


def _row_table(by: By, rows: Sequence[ProfileRow]) -> str:
    header = row_header(by)
    body = []
    for row in rows:
        values: list[float | int | str | None] = [
            row.name,
            "+".join(row.kinds),
            _elements(row.input_shape),
            _elements(row.output_shape),
            row.macs,
            row.bytes_read + row.bytes_written,
            row.intensity,
            row.time_ms,
            row.share,
            row.limit,
            row.of_bound,
        ]
        body.append(list(zip(row_cells(row), values, strict=True)))
    if by == "operator":  # an operator type has no shape
        header, body = header[:1] + header[4:], [cells[:1] + cells[4:] for cells in body]
    if all(row.limit is None for row in rows):
        header, body = header[:-2], [cells[:-2] for cells in body]
    return sortable_table(header, body, text=(by, "type", "bound by"))


def _elements(shape: tuple[int, ...] | None) -> int | None:
    """Elements of a shape, by which its column sorts."""
    if shape is None:
        return None
    elements = 1
    for size in shape:
        elements *= size
    return elements


def _comparison(comparison: ProfileComparison) -> str:
    first, second = comparison.first, comparison.second
    key = (
        '<div class="key">'
        f'<span><i style="background:var(--bar)"></i>{escape(first.name)}</span>'
        f'<span><i style="background:var(--memory)"></i>{escape(second.name)}</span></div>'
    )
    parts = [
        f"<p>{first.latency_ms:.4g} ms and {second.latency_ms:.4g} ms a run: {comparison.speedup:.2f} times. "
        "Measured in turns.</p>",
        key,
    ]
    names: tuple[tuple[By, str], ...] = (("operator", "Operator types"), ("stage", "Stages"))
    for by, name in names:
        rows = comparison.rows(by)
        body: list[list[Cell]] = []
        for title, a, b in rows:
            times = [row.time_ms if row else None for row in (a, b)]
            saved = (times[0] or 0.0) - (times[1] or 0.0)
            cells: list[Cell] = [(title, title)]
            cells += [("–" if time is None else f"{time:.4f}", time) for time in times]
            cells.append((f"{saved:.4f}", saved))
            cells += [(str(n), n) for n in (row.num_operators if row else 0 for row in (a, b))]
            body.append(cells)
        header = [by, "ms, first", "ms, second", "ms saved", "operators, first", "operators, second"]
        table = sortable_table(header, body, text=(by,))
        parts.append(f"<section><h2>{name}, side by side</h2>{paired_bars(rows)}{table}</section>")
    return "\n".join(parts)
