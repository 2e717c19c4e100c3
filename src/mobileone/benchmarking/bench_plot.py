"""A benchmark as a picture: accuracy against latency, or latency alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mobileone.benchmarking.bench_report import accuracy_title
from mobileone.benchmarking.bench_result import BenchResult, BenchRow
from mobileone.benchmarking.recommendation import pareto_front
from mobileone.report.figure import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRONT, BASELINE = "#2463c4", "#8a919e"
MARKERS = {"fp32": "o", "fp16": "^", "bf16": "s", "int8": "D"}


def write_plot(result: BenchResult, path: str | os.PathLike[str]) -> Path:
    """Write one panel a network and batch size as PNG; the path.

    Raises:
        MissingExtraError: without matplotlib.
        MobileOneError: if the file cannot be written.
    """
    groups = [
        (f"{network}, batch {size}", ran)
        for network, size, rows in result.groups()
        if (ran := [row for row in rows if row.latency is not None])
    ]
    figure = new_figure(8 * max(len(groups), 1), 6, dpi=150)
    panels = figure.subplots(1, max(len(groups), 1), squeeze=False)[0]
    for axes, (title, rows) in zip(panels, groups, strict=False):
        if any(row.accuracy is not None and row.accuracy.score is not None for row in rows):
            _draw_front(axes, rows, accuracy_title(result))
        else:
            _draw_bars(axes, rows)
        axes.set_title(title, fontsize=10)
    return save_figure(figure, path)


def _draw_front(axes: Axes, rows: Sequence[BenchRow], title: str) -> None:
    """Colour is the runtime, shape the precision, size the threads; only the front has names."""
    points = [
        (row.latency.median_ms, row.accuracy.score, row)
        for row in rows
        if row.latency is not None and row.accuracy is not None and row.accuracy.score is not None
    ]
    front = pareto_front(rows)
    colors = {name: f"C{i % 10}" for i, name in enumerate(dict.fromkeys(row.runner for _, _, row in points))}
    for x, y, row in points:
        marker = MARKERS.get(row.precision, "o")
        axes.scatter([x], [y], color=colors[row.runner], marker=marker, s=20 + 20 * row.threads, alpha=0.8)
        if row in front:
            axes.annotate(row.name, (x, y), fontsize=7, xytext=(6, 6), textcoords="offset points")
    for name, color in colors.items():
        axes.scatter([], [], color=color, label=name)
    for precision in dict.fromkeys(row.precision for _, _, row in points):
        axes.scatter([], [], color="#333", marker=MARKERS.get(precision, "o"), label=precision)
    corners = [(x, y) for x, y, row in sorted(points, key=lambda point: point[:2]) if row in front]
    axes.step(*zip(*corners, strict=True), where="post", color=FRONT, zorder=0, label="Pareto front")
    axes.set_xscale("log")
    for axis_format in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis_format("{x:g}")
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.margins(0.1)
    axes.set_xlabel("median latency, ms; larger marks: more threads")
    axes.set_ylabel(title)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.grid(True, linewidth=0.4)


def _draw_bars(axes: Axes, rows: Sequence[BenchRow]) -> None:
    timed = [(row, row.latency) for row in rows if row.latency is not None]
    names = [row.name for row, _ in timed]
    medians = [latency.median_ms for _, latency in timed]
    axes.barh(names, medians, color=[BASELINE if row.is_baseline else FRONT for row, _ in timed])
    for index, median in enumerate(medians):
        axes.annotate(f"{median:.2f}", (median, index), fontsize=7, va="center")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("median latency, ms")
