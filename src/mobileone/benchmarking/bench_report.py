"""A benchmark on a terminal: tables, what did not run, ceilings, protocol, which to use. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mobileone.benchmarking.bench_result import BenchResult, BenchRow
from mobileone.report.aligned_table import aligned_table

if TYPE_CHECKING:
    from mobileone.benchmarking.ceilings import Ceilings

DASH = "–"


def bench_report(result: BenchResult) -> str:
    """Everything that a benchmark found but the single runs, and which candidate to use."""
    blocks = []
    for network, batch_size, rows in result.groups():
        lines = [f"{network}, batch {batch_size}"]
        if ran := [row for row in rows if row.latency is not None]:
            text = 2 if result.protocol.accelerator is None else 3
            lines.append(aligned_table(header(result), [cells(row, result) for row in ran], num_text=text))
        lines += [f"did not run: {line}" for line in refusals(rows)]
        blocks.append("\n".join(lines))
    if result.ceilings:
        blocks.append("\n".join(ceiling_lines(result.ceilings)))
    blocks.append("\n".join(footnotes(result)))
    if result.recommendations:
        blocks.append("\n".join(recommendation_lines(result)))
    if result.noise.warning:
        blocks.append(f"WARNING: {result.noise.warning}")
    return "\n\n".join(blocks)


def header(result: BenchResult) -> list[str]:
    """Names of the columns."""
    accuracy = [] if result.eval_data is None else [accuracy_title(result)]
    on_gpu = result.protocol.accelerator is not None
    return [
        "backend",
        "precision",
        *(["device"] if on_gpu else []),
        "threads",
        "median ms",
        "p90",
        "min",
        *(["on device"] if on_gpu else []),
        "runs",
        "images/s",
        "× floor",
        *accuracy,
        "MB over idle",
        "MB peak",
        *(["MB GPU"] if on_gpu else []),
        "MB file",
        "start s",
        "open s",
    ]


def accuracy_title(result: BenchResult) -> str:
    """What the accuracy column holds."""
    labelled = any(row.accuracy and row.accuracy.top1 is not None for row in result.rows)
    return "top-1 %" if labelled else "agreement %"


def cells(row: BenchRow, result: BenchResult) -> list[str]:
    """One candidate as the table shows it."""
    latency = row.latency
    assert latency is not None
    over_idle = (row.peak_bytes or 0) - (row.idle_bytes or 0)
    score = row.accuracy.score if row.accuracy else None
    accuracy = [] if result.eval_data is None else [DASH if score is None else f"{score:.2f}"]
    on_gpu, resident = result.protocol.accelerator is not None, row.device_latency
    device_mb = DASH if row.device_bytes is None else f"{row.device_bytes / 1e6:.0f}"
    return [
        row.runner,
        row.precision,
        *([row.device] if on_gpu else []),
        str(row.threads),
        f"{latency.median_ms:.3f}",
        f"{latency.p90_ms:.3f}",
        f"{latency.min_ms:.3f}",
        *([DASH if resident is None else f"{resident.median_ms:.3f}"] if on_gpu else []),
        str(latency.num_runs),
        f"{latency.images_per_s:.1f}",
        DASH if row.of_floor is None else f"{row.of_floor:.2f}",
        *accuracy,
        f"{over_idle / 1e6:.0f}",
        f"{(row.peak_bytes or 0) / 1e6:.0f}",
        *([device_mb] if on_gpu else []),
        DASH if row.size_bytes is None else f"{row.size_bytes / 1e6:.2f}",
        DASH if row.start_s is None else f"{row.start_s:.2f}",
        DASH if row.open_s is None else f"{row.open_s:.2f}",
    ]


def refusals(rows: Sequence[BenchRow]) -> list[str]:
    """What has no latency and why, a line each; one line for combinations with one reason."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for row in rows:
        if row.latency is None:
            where = "" if row.device == "cpu" else f" on {row.device}"
            key = (row.runner, row.precision + where, row.reason or "")
            found.setdefault(key, []).append(row.threads)
    return [
        f"{backend} {precision} (threads {', '.join(map(str, threads))}): {reason}"
        for (backend, precision, reason), threads in found.items()
    ]


def ceiling_lines(ceilings: Sequence[Ceilings]) -> list[str]:
    """The machine's ceilings, a line for each number of threads, and notes on them."""
    lines = []
    for own in ceilings:
        parts = [
            f"{each.source} {each.gops:.0f} G{'FLOP' if name != 'int8' else 'OP'}/s"
            for name, each in own.arithmetic.items()
        ]
        (small, fast), (large, slow) = own.copies[0], own.copies[-1]
        parts.append(f"copies of {small >> 20} MiB {fast:.0f} GB/s, of {large >> 20} MiB {slow:.0f} GB/s")
        threads = "1 thread" if own.threads == 1 else f"{own.threads} threads"
        lines.append(f"this machine at best, {threads}: {', '.join(parts)}")
        lines += [f"  {note}" for note in own.notes]
    return lines


def footnotes(result: BenchResult) -> list[str]:
    """Machine, protocol and noise, and what accuracy was measured on."""
    protocol, noise = result.protocol, result.noise
    pinned = "pinned to as many cores as threads" if protocol.pinned else "NOT pinned (this system cannot)"
    lines = [
        f"{protocol.processor}, {protocol.cores} cores, {protocol.system}; "
        f"{', '.join(protocol.runtimes)}; Python {protocol.versions['python']}; {protocol.date}",
        f"input: {protocol.input}; every candidate in a process of its own, {pinned}; "
        f"{protocol.rounds} interleaved rounds in random order (seed {protocol.seed}), one running at a time",
        f"{protocol.runs} timed runs at batch 1, at larger batches what {protocol.budget_s:g} s allow; "
        f"up to {protocol.warmup_runs} of warm-up, and {1e3 * protocol.wake_s:g} ms before every turn",
        "× floor: median over the least time that the ceilings above allow, layer by layer; "
        "start: process start to first result, once, files in memory; open: of that, loading and compiling",
        f"machine: load average {DASH if noise.load_before is None else f'{noise.load_before:.2f}'} before, "
        f"reference loop {100 * noise.typical:.1f} % above its best at the median, "
        f"{100 * noise.spread:.1f} % in its slowest tenth",
    ]
    if protocol.accelerator is not None:
        lines.insert(
            1,
            f"{protocol.accelerator}; fp32 without TensorFloat-32; median, p90 and min from array to array, "
            "copies included; on device: median without them, waited for; MB GPU: taken once it runs",
        )
    if result.eval_data is not None:
        lines.append(f"accuracy on {result.eval_data}")
        for network, accuracy in result.reference.items():
            if accuracy.top1 is not None:
                lines.append(f"  PyTorch in float, {network}: top-1 {accuracy.top1:.2f} %")
    lines += protocol.notes
    return lines


def recommendation_lines(result: BenchResult) -> list[str]:
    """One line each; where there are several, with what they are for; and the command that writes it."""
    several = len(result.recommendations) > 1
    lines = []
    for found in result.recommendations:
        what = f"{found.row.network}, batch {found.row.batch_size}: " if several else ""
        lines.append(f"{what}{found}")
        if found.command is not None:
            lines.append(f"  {found.command}")
    return lines
