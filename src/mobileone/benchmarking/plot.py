"""A benchmark as a picture: accuracy against latency, or latency alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mobileone.benchmarking.recommendation import pareto_front
from mobileone.benchmarking.report import accuracy_title
from mobileone.benchmarking.result import BenchResult, Row
from mobileone.profiling.plot import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRONT, BEATEN, BASELINE = "#2463c4", "#b8510b", "#8a919e"


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
    most = max((len(rows) for _, rows in groups), default=1)
    figure = new_figure(8 * max(len(groups), 1), max(5.0, 0.3 * most + 1.5))
    panels = figure.subplots(1, max(len(groups), 1), squeeze=False)[0]
    for axes, (title, rows) in zip(panels, groups, strict=False):
        if any(row.accuracy is not None and row.accuracy.score is not None for row in rows):
            _draw_front(axes, rows, accuracy_title(result))
        else:
            _draw_bars(axes, rows)
        axes.set_title(title, fontsize=10)
    return save_figure(figure, path)


def _draw_front(axes: Axes, rows: Sequence[Row], title: str) -> None:
    front = pareto_front(rows)
    for row in rows:
        if row.latency is None or row.accuracy is None or row.accuracy.score is None:
            continue
        x, y = row.latency.median_ms, row.accuracy.score
        color = FRONT if row in front else BEATEN
        axes.scatter([x], [y], color=color, marker="s" if row.is_baseline else "o", zorder=3)
        axes.annotate(row.name, (x, y), fontsize=6, xytext=(4, 4), textcoords="offset points")
    points = [(row.latency.median_ms, row.accuracy.score) for row in front if row.latency and row.accuracy]
    axes.plot([x for x, _ in points], [y or 0.0 for _, y in points], color=FRONT, label="Pareto front")
    axes.set_xscale("log")
    axes.set_xlabel("median latency, ms")
    axes.set_ylabel(title)
    axes.legend(fontsize=8, loc="lower right")
    axes.grid(True, linewidth=0.4)


def _draw_bars(axes: Axes, rows: Sequence[Row]) -> None:
    timed = [(row, row.latency) for row in rows if row.latency is not None]
    names = [row.name for row, _ in timed]
    medians = [latency.median_ms for _, latency in timed]
    axes.barh(names, medians, color=[BASELINE if row.is_baseline else FRONT for row, _ in timed])
    for index, median in enumerate(medians):
        axes.annotate(f"{median:.2f}", (median, index), fontsize=7, va="center")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("median latency, ms")
