"""Charts of a benchmark's page: bars as HTML, accuracy against latency as SVG. No script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from mobileone.benchmarking.bench_result import BenchRow
from mobileone.benchmarking.recommendation import pareto_front
from mobileone.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, bar_list

STEPS = 5


def latency_bars(rows: Sequence[BenchRow]) -> str:
    """One bar a candidate, as long as its median."""
    timed = [(row, row.latency) for row in rows if row.latency is not None]
    most = max(latency.median_ms for _, latency in timed)
    return bar_list(
        (
            row.name,
            [(latency.median_ms / most, f"{latency.median_ms:.3f} ms", " other" if row.is_baseline else "")],
        )
        for row, latency in timed
    )


def scatter(rows: Sequence[BenchRow], title: str) -> str:
    """Accuracy or agreement against latency, the Pareto front as a line; empty without accuracies.

    Args:
        rows: of one network and batch size.
        title: of the vertical axis.
    """
    points = [
        (row.latency.median_ms, row.accuracy.score, row)
        for row in rows
        if row.latency is not None and row.accuracy is not None and row.accuracy.score is not None
    ]
    if not points:
        return ""
    front = pareto_front(rows)
    x_axis = _Axis([x for x, _, _ in points] + [0.0], LEFT, WIDTH - RIGHT)
    y_axis = _Axis([y for _, y, _ in points], HEIGHT - BOTTOM, TOP)
    lines = [
        f'<svg class="roofline" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)} against median latency">'
    ]
    for value in x_axis.ticks():
        x = x_axis.at(value)
        lines.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 24}" text-anchor="middle">{value:.4g}</text>')
    for value in y_axis.ticks():
        y = y_axis.at(value)
        lines.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{value:.4g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines.append(f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">median, ms</text>')
    lines.append(
        f'<text transform="translate(18 {HEIGHT / 2 - 20:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(title)}</text>"
    )
    corners = [(x_axis.at(x), y_axis.at(y)) for x, y, row in sorted(points, key=_by_place) if row in front]
    steps = [corner for (_, y), (x, up) in pairwise(corners) for corner in ((x, y), (x, up))]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners[:1] + steps)
    lines.append(f'<polyline class="roof" points="{path}"/>')
    for x, y, row in points:
        label = f"<title>{escape(row.name)}: {x:.3f} ms, {y:.2f}</title>"
        kind = "arithmetic" if row in front else "memory"
        place = f'cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}"'
        lines.append(f'<circle class="dot {kind}" {place} r="7">{label}</circle>')
    return "\n".join([*lines, "</svg>"])


def _by_place(point: tuple[float, float, BenchRow]) -> tuple[float, float]:
    return point[:2]


class _Axis:
    """A linear axis over some values, from one pixel to another."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        room = 0.08 * (high - low) or 1.0
        self.low, self.high = (low if low == 0 else low - room), high + room
        self.start, self.end = start, end

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Values to label, evenly spaced."""
        return [self.low + (self.high - self.low) * step / STEPS for step in range(STEPS + 1)]
