"""Charts of a page: bars as HTML, the roofline as SVG. No script, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from mobileone.profiling.log_axes import LogAxes
from mobileone.profiling.profile_result import ProfileResult, ProfileRow
from mobileone.profiling.roofline import Machine
from mobileone.report.charts import HEIGHT, WIDTH, bar_list

MAX_BARS = 24


def bars(rows: Sequence[ProfileRow]) -> str:
    """One bar a row, the longest first, as long as its share; beyond 24 the rest is one bar."""
    timed = sorted((row for row in rows if row.time_ms is not None), key=lambda row: -(row.time_ms or 0.0))
    shown, rest = timed[:MAX_BARS], timed[MAX_BARS:]
    most = max((row.time_ms or 0.0 for row in shown), default=0.0) or 1.0
    entries = [(row.name, row.time_ms or 0.0, row.share or 0.0, "") for row in shown]
    if rest:
        others = sum(row.time_ms or 0.0 for row in rest)
        entries.append((f"{len(rest)} others", others, sum(row.share or 0.0 for row in rest), " other"))
        most = max(most, others)
    return bar_list(
        (name, [(time / most, f"{time:.4g} ms, {100 * share:.1f} %", kind)])
        for name, time, share, kind in entries
    )


def paired_bars(rows: Iterable[tuple[str, ProfileRow | None, ProfileRow | None]]) -> str:
    """Two bars a row, the times of two networks on one scale; rows that neither network spends time in go."""
    times = [(name, [row.time_ms if row else None for row in pair]) for name, *pair in rows]
    timed = [(name, pair) for name, pair in times if any(pair)]
    timed.sort(key=lambda entry: -max(time or 0.0 for time in entry[1]))
    most = max((time or 0.0 for _, pair in timed for time in pair), default=0.0) or 1.0
    return bar_list(
        (
            name,
            [
                ((time or 0.0) / most, "–" if time is None else f"{time:.4g} ms", kind)
                for time, kind in zip(pair, ("", " second"), strict=True)
            ],
        )
        for name, pair in timed[:MAX_BARS]
    )


def roofs(machine: Machine) -> tuple[tuple[str, float, str], ...]:
    """(name, GB/s, CSS class) of the fastest copy and of the largest one."""
    fastest = max(machine.copies, key=lambda entry: entry[1])
    largest = machine.copies[-1]
    named = [(f"copy of {fastest[0] // 2**20} MiB", fastest[1], "")]
    if largest != fastest:
        named.append((f"copy of {largest[0] // 2**20} MiB", largest[1], " far"))
    return tuple(named)


def roofline_rows(profile: ProfileResult) -> list[ProfileRow]:
    """The layers that a roofline plot can show: those with multiply-accumulates and a time."""
    return [row for row in profile.rows("layer") if row.intensity and row.gflops]


def roofline(profile: ProfileResult) -> str:
    """Speed of every layer against its arithmetic intensity, under the measured ceilings."""
    machine, rows = profile.machine, roofline_rows(profile)
    if machine is None or not rows:
        return ""
    intensities = [row.intensity or 1.0 for row in rows]
    speeds = [row.gflops or 1.0 for row in rows]
    axes = LogAxes(intensities, [*speeds, machine.peak_gflops])
    left, right = 10.0 ** axes.x[0], 10.0 ** axes.x[1]
    bottom = 10.0 ** axes.y[0]
    lines = [
        f'<svg class="roofline" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="Roofline: measured speed of each layer against its arithmetic intensity">',
        *axes.grid(),
    ]
    for _, bandwidth, kind in roofs(machine):
        knee = min(max(machine.peak_gflops / bandwidth, left), right)
        start = max(left, bottom / bandwidth)
        points = [
            (start, min(start * bandwidth, machine.peak_gflops)),
            (knee, min(knee * bandwidth, machine.peak_gflops)),
        ]
        points.append((right, min(right * bandwidth, machine.peak_gflops)))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (axes.at(*point) for point in points))
        lines.append(f'<polyline class="roof{kind}" points="{path}"/>')
    x, y = axes.at(right, machine.peak_gflops)
    lines.append(
        f'<text x="{x - 4:.1f}" y="{y - 8:.1f}" text-anchor="end">{machine.peak_gflops:.4g} GFLOP/s</text>'
    )
    for row in rows:
        x, y = axes.at(row.intensity or 1.0, row.gflops or 1.0)
        lines.append(_dot(row, x, y))
    return "\n".join([*lines, "</svg>"])


def _dot(row: ProfileRow, x: float, y: float) -> str:
    """A circle for a layer bound by arithmetic, a square for one bound by memory, larger with its time."""
    radius = 4 + 16 * (row.share or 0.0) ** 0.5
    label = (
        f"{row.name}: {row.time_ms or 0:.4f} ms, {row.gflops or 0:.1f} GFLOP/s, "
        f"{row.intensity or 0:.2f} FLOP/B, {100 * (row.of_bound or 0):.0f} % of the bound by {row.limit}"
    )
    title = f"<title>{escape(label)}</title>"
    if row.limit == "memory":
        return (
            f'<rect class="dot memory" x="{x - radius:.1f}" y="{y - radius:.1f}" '
            f'width="{2 * radius:.1f}" height="{2 * radius:.1f}">{title}</rect>'
        )
    return f'<circle class="dot arithmetic" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">{title}</circle>'
