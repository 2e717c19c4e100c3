"""Profiles as text. The report by operator type is in the format of Caffe2's BenchmarkNet, to the byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from mobileone.profiling.comparison import ProfileComparison
from mobileone.profiling.conventions import Convention
from mobileone.profiling.profile_result import By, ProfileResult, ProfileRow
from mobileone.report.aligned_table import aligned_table

T = TypeVar("T")

# Title and unit of the section that a convention fills.
COUNT_SECTIONS: dict[Convention, tuple[str, str]] = {
    "caffe2": ("FLOP", "GFLOP"),
    "fvcore": ("MAC (as fvcore counts)", "GMAC"),
    "macs": ("MAC", "GMAC"),
}


def profile_report(result: ProfileResult | ProfileComparison, by: By = "operator") -> str:
    """The whole report: by operator type in BenchmarkNet's format, by layer or stage as a table.

    Args:
        result: what `profile` gave; or two profiles, which come side by side.
        by: what a line is: an operator type, a layer or a stage.

    Raises:
        ConfigError: on another grouping.
    """
    if isinstance(result, ProfileComparison):
        return comparison_report(result, by)
    profile = result
    body = operator_sections(profile) if by == "operator" else _row_table(profile, by)
    return "\n".join([body, "", *footnotes(profile)])


def operator_sections(profile: ProfileResult) -> str:
    """Parameters, time, operations and memory per operator type, each by falling value.

    A section lists the operator types that have a cost function for it; the time section, all that ran.
    """
    rows = profile.rows("operator")
    title, unit = COUNT_SECTIONS[profile.convention]
    listed = [row for row in rows if row.in_memory_report]
    sections = [
        ("Time", "ms", {row.name: row.time_ms for row in rows if row.time_ms is not None}),
        (title, unit, {row.name: row.count / 1e9 for row in rows if row.count is not None}),
        ("Feature Memory Read", "MB", {row.name: row.bytes_read / 1e6 for row in listed}),
        ("Feature Memory Written", "MB", {row.name: row.bytes_written / 1e6 for row in listed}),
        ("Parameter Memory", "MB", {row.name: row.parameter_bytes / 1e6 for row in listed}),
    ]
    lines = [f"Number of parameters: {profile.num_parameters}"]
    for name, unit, values in sections:
        lines += _section(name, unit, values)
    return "\n".join(lines)


def _section(title: str, unit: str, values: dict[str, float]) -> list[str]:
    # C++ streams print 6 significant digits, setw(15) and setw(10) wide.
    total = sum(values.values())
    lines = [f"{title} per operator type:"]
    for name, value in sorted(values.items(), key=lambda item: (-item[1], item[0])):
        percent = 100 * value / total if total else 0.0
        lines.append(f"{value:15.6g} {unit}. {percent:10.6g}%. {name}")
    return [*lines, f"{total:15.6g} {unit} in Total"]


def footnotes(profile: ProfileResult) -> list[str]:
    """What was left uncounted, the whole run, and the protocol."""
    return [*_own_notes(profile), *_shared_notes(profile)]


def _own_notes(profile: ProfileResult) -> list[str]:
    p = profile.protocol
    lines = []
    if profile.uncounted:
        names = ", ".join(profile.uncounted)
        lines.append(f"No cost rule in {profile.convention}, time only: {names}")
    times = sorted(profile.latencies_ms)
    low, high = times[len(times) // 10], times[-1 - len(times) // 10]
    lines.append(
        f"Whole run without the profiler: {profile.latency_ms:.4g} ms, median of {len(times)} "
        f"(80 % within {low:.4g} to {high:.4g})"
    )
    versions = ", ".join(f"{name} {number}" for name, number in p.versions.items())
    graph = "eager" if p.clock == "torch" else f"graph optimizations {'on' if p.optimized else 'off'}"
    threads = f"{p.threads} thread{'s' if p.threads > 1 else ''} on {p.cores} cores"
    lines.append(
        f"Measured: {profile.name}, {', '.join(p.inputs)}; {versions}; {graph}; "
        f"{p.device}: {p.processor}, {threads}; {p.date}"
    )
    return lines


def _shared_notes(profile: ProfileResult) -> list[str]:
    """What two networks of a comparison have in common."""
    p, machine = profile.protocol, profile.machine
    lines = [
        f"Time of an operator: mean of the middle half of {p.runs} timed runs, after {p.warmup} of warm-up"
    ]
    if machine:
        copies = ", ".join(f"{speed:.3g} GB/s of {_size(moved)}" for moved, speed in machine.copies)
        lines.append(f"Ceilings: {machine.peak_gflops:.4g} GFLOP/s ({machine.peak_source}); copies {copies}")
    return lines


def _size(size_bytes: int) -> str:
    return f"{size_bytes // 2**20} MiB"


def shape_text(shape: tuple[int, ...] | None) -> str:
    """`1×3×224×224`."""
    return "–" if shape is None else "×".join(map(str, shape)) or "scalar"


def kinds_text(kinds: tuple[str, ...]) -> str:
    """Operator types of a row, two at most by name where there are more than three."""
    return "+".join(kinds) if len(kinds) <= 3 else f"{kinds[0]}+{kinds[1]}+{len(kinds) - 2}"


def optional(value: T | None, show: Callable[[T], str]) -> str:
    """`show(value)`, or a dash."""
    return "–" if value is None else show(value)


def row_cells(row: ProfileRow) -> list[str]:
    """The cells of a row under `row_header`."""
    return [
        row.name,
        kinds_text(row.kinds),
        shape_text(row.input_shape),
        shape_text(row.output_shape),
        f"{row.macs / 1e6:.3f}",
        f"{(row.bytes_read + row.bytes_written) / 1e6:.3f}",
        optional(row.intensity, lambda v: f"{v:.2f}"),
        optional(row.time_ms, lambda v: f"{v:.4f}"),
        optional(row.share, lambda v: f"{100 * v:.2f}"),
        optional(row.limit, str),
        optional(row.of_bound, lambda v: f"{100 * v:.0f}"),
    ]


ROW_COLUMNS = ("type", "input", "output", "MMAC", "MB", "FLOP/B", "ms", "time %", "bound by", "% of bound")


def row_header(by: By) -> list[str]:
    """Column names for `row_cells`."""
    return [by, *ROW_COLUMNS]


def _row_table(profile: ProfileResult, by: By) -> str:
    rows = [*profile.rows(by), profile.total()]
    cells = [row_cells(row) for row in rows]
    if profile.machine is None:
        cells = [row[:-2] for row in cells]
    return aligned_table(row_header(by)[: len(cells[0])], cells, num_text=4)


def comparison_report(comparison: ProfileComparison, by: By = "operator") -> str:
    """Totals of two networks and their rows, side by side."""
    first, second = comparison.first, comparison.second
    _, unit = COUNT_SECTIONS[first.convention]
    totals = [(p, p.total()) for p in (first, second)]
    lines: list[tuple[str, Callable[[ProfileResult, ProfileRow], float], str]] = [
        ("parameters", lambda p, _: p.num_parameters, ",.0f"),
        ("MMAC", lambda p, _: p.macs / 1e6, ",.3f"),
        (unit, lambda p, _: p.count / 1e9, ",.6f"),
        ("MB read", lambda _, t: t.bytes_read / 1e6, ",.3f"),
        ("MB written", lambda _, t: t.bytes_written / 1e6, ",.3f"),
        ("operators", lambda _, t: t.num_operators, ",.0f"),
        ("ms, operators' sum", lambda p, _: p.time_ms, ",.4f"),
        ("ms, whole run", lambda p, _: p.latency_ms, ",.4f"),
    ]
    cells = []
    for name, value, form in lines:
        a, b = (value(p, total) for p, total in totals)
        cells.append([name, format(a, form), format(b, form), f"{a / b:.2f}" if b else "–"])
    table = aligned_table(["total", first.name, second.name, "ratio"], cells, num_text=1)
    rows = [_pair_cells(name, pair) for name, *pair in comparison.rows(by)]
    header = [by, "ms", "ms", "saved", "operators", "operators", "MMAC", "MMAC"]
    detail = aligned_table(header, rows, num_text=1)
    notes = [f"[{p.name}] {line}" for p in (first, second) for line in _own_notes(p)]
    return "\n".join([table, "", detail, "", *notes, *_shared_notes(first)])


def _pair_cells(name: str, pair: Sequence[ProfileRow | None]) -> list[str]:
    """Times of a row in two networks, the time saved, and what is in it."""
    times = [row.time_ms if row else None for row in pair]
    saved = (times[0] or 0.0) - (times[1] or 0.0)
    return [
        name,
        *(optional(time, lambda v: f"{v:.4f}") for time in times),
        f"{saved:.4f}",
        *(optional(row, lambda r: str(r.num_operators)) for row in pair),
        *(optional(row, lambda r: f"{r.macs / 1e6:.3f}") for row in pair),
    ]
