"""A benchmark as one self-contained HTML page, in the profiler's style. Nothing is loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from mobileone.atomic import atomic_path
from mobileone.benchmarking.bench_charts import latency_bars, scatter
from mobileone.benchmarking.bench_report import (
    accuracy_title,
    ceiling_lines,
    cells,
    footnotes,
    header,
    recommendation_lines,
    refusals,
)
from mobileone.benchmarking.bench_result import BenchResult, BenchRow
from mobileone.report.page import document, sortable_table, tiles


def write_page(result: BenchResult, path: str | os.PathLike[str]) -> Path:
    """Write the page to `path`; the path.

    Raises:
        MobileOneError: if the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(page(result), encoding="utf-8")
    return Path(path)


def page(result: BenchResult) -> str:
    """One self-contained HTML document; it loads nothing."""
    networks = dict.fromkeys(row.network for row in result.rows)
    title = f"Benchmark of {', '.join(networks)}"
    body = [f"<h1>{escape(title)}</h1>"]
    if result.noise.warning:
        body.append(f"<p><b>Warning: {escape(result.noise.warning)}</b></p>")
    body += [f"<p>{escape(line)}</p>" for line in recommendation_lines(result)]
    for network, batch_size, rows in result.groups():
        body.append(_group(result, f"{network}, batch {batch_size}", rows))
    if result.ceilings:
        ceilings = _soft(ceiling_lines(result.ceilings))
        body.append(f"<section><h2>Ceilings of this machine</h2>{ceilings}</section>")
    body.append(f"<section><h2>How this was measured</h2>{_soft(footnotes(result))}</section>")
    return document(title, body)


def _soft(lines: Sequence[str]) -> str:
    return "".join(f'<p class="soft">{escape(line)}</p>' for line in lines)


def _group(result: BenchResult, title: str, rows: Sequence[BenchRow]) -> str:
    ran = [row for row in rows if row.latency is not None]
    parts = [f"<section><h2>{escape(title)}</h2>"]
    if ran:
        fastest = ran[0]
        assert fastest.latency is not None
        facts = [
            (f"{fastest.latency.median_ms:.3f} ms", f"fastest median: {fastest.name}"),
            (f"{fastest.latency.images_per_s:.0f}", "images a second"),
        ]
        if fastest.floor is not None:
            facts.append((f"{fastest.floor.milliseconds:.3f} ms", "least time the ceilings allow it"))
        parts += [tiles(facts), latency_bars(ran), _scatter(result, ran), _table(result, ran)]
    parts.append(_soft([f"did not run: {line}" for line in refusals(rows)]))
    return "\n".join([*parts, "</section>"])


def _scatter(result: BenchResult, rows: Sequence[BenchRow]) -> str:
    title = accuracy_title(result)
    drawn = scatter(rows, title)
    if not drawn:
        return ""
    return (
        f"<figure>{drawn}"
        '<figcaption><div class="key">'
        '<span><i style="background:var(--arithmetic)"></i>on the Pareto front</span>'
        '<span><i style="background:var(--memory)"></i>beaten in both</span></div></figcaption></figure>'
    )


def _table(result: BenchResult, rows: Sequence[BenchRow]) -> str:
    names = header(result)
    body = [[(shown, _sort_value(shown)) for shown in cells(row, result)] for row in rows]
    return sortable_table(names, body, text=("backend", "precision", "device"))


def _sort_value(shown: str) -> float | str | None:
    try:
        return float(shown)
    except ValueError:
        return None if shown == "–" else shown
