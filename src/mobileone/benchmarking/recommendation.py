"""Which candidate to use, and why. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from mobileone.benchmarking.bench_result import Accuracy, BenchRow, Recommendation

# A recommended candidate is never further than this behind the fastest acceptable one.
MAX_BEHIND = 0.05


def points_lost(row: BenchRow, reference: Accuracy | None) -> float | None:
    """Points of top-1 that a candidate loses against PyTorch in float, or of agreement; None if unknown."""
    accuracy = row.accuracy
    if accuracy is None:
        return None
    if accuracy.top1 is not None and reference is not None and reference.top1 is not None:
        return reference.top1 - accuracy.top1
    return None if accuracy.agreement is None else 100.0 - accuracy.agreement


def acceptable(
    rows: Sequence[BenchRow], reference: Accuracy | None, *, tolerance: float, evaluated: bool
) -> list[BenchRow]:
    """Candidates that ran and, where images were given, lost no more than `tolerance` points."""
    ran = [row for row in rows if row.latency is not None]
    if not evaluated:
        return ran
    lost = {row: points_lost(row, reference) for row in ran}
    if all(points is None for points in lost.values()):  # labels, but nothing to hold them against
        return ran
    return [row for row, points in lost.items() if points is not None and points <= tolerance + 1e-9]


def recommend(
    rows: Sequence[BenchRow], reference: Accuracy | None, *, tolerance: float, evaluated: bool
) -> Recommendation | None:
    """The fastest acceptable candidate by median; among equals the one with the fewest threads.

    Equal are those whose intervals of the median overlap and whose medians are within 5 % of the fastest: so
    what is recommended is within 5 % of the best.

    Args:
        rows: candidates of one network and batch size.
        reference: accuracy of PyTorch in float.
        tolerance: points of accuracy or agreement that may be lost.
        evaluated: whether accuracy was measured at all.

    Returns:
        The recommendation, or None where nothing acceptable ran.
    """
    choice = acceptable(rows, reference, tolerance=tolerance, evaluated=evaluated)
    if not choice:
        return None
    median = {row: row.latency.median_ms for row in choice if row.latency is not None}
    fastest = min(choice, key=lambda row: median[row])
    equal = [
        row for row in choice if median[row] <= (1 + MAX_BEHIND) * median[fastest] and _overlap(row, fastest)
    ]
    chosen = min(equal, key=lambda row: (row.threads, median[row]))
    reasons = [f"{median[chosen]:.3g} ms", _standing(chosen, fastest, median)]
    reasons += _accuracy_reasons(chosen, choice, reference, tolerance=tolerance, evaluated=evaluated)
    rejected = [row for row in rows if row.latency is not None and row not in median]
    if faster := [row for row in rejected if row.latency and row.latency.median_ms < median[fastest]]:
        names = ", ".join(
            f"{row.backend} {row.precision}" for row in {(r.backend, r.precision): r for r in faster}.values()
        )
        reasons.append(f"faster but not accurate enough: {names}")
    return Recommendation(row=chosen, reason="; ".join(reason for reason in reasons if reason))


def _overlap(row: BenchRow, other: BenchRow) -> bool:
    assert row.latency is not None
    assert other.latency is not None
    (low, high), (other_low, other_high) = row.latency.interval_ms, other.latency.interval_ms
    return low <= other_high and other_low <= high


def _standing(chosen: BenchRow, fastest: BenchRow, median: dict[BenchRow, float]) -> str:
    if chosen is not fastest:
        behind = 100 * (median[chosen] / median[fastest] - 1)
        return f"as fast within noise as {fastest.name} ({behind:.1f} % behind), with fewer threads"
    kind = (chosen.backend, chosen.device, chosen.precision)
    others = [row for row in median if (row.backend, row.device, row.precision) != kind]
    if not others:
        return "the fastest"
    second = min(others, key=lambda row: median[row])
    return f"the fastest, {median[second] / median[chosen]:.2f} times as fast as {second.name}"


def _accuracy_reasons(
    chosen: BenchRow,
    choice: Sequence[BenchRow],
    reference: Accuracy | None,
    *,
    tolerance: float,
    evaluated: bool,
) -> list[str]:
    if evaluated:
        lost = points_lost(chosen, reference)
        if lost is None or chosen.accuracy is None:
            return []
        what = "agreement with PyTorch" if chosen.accuracy.top1 is None else "top-1"
        return [
            f"{what} {chosen.accuracy.score:.2f} %, {max(lost, 0.0):.2f} points lost of {tolerance:g} allowed"
        ]
    if chosen.precision == "fp32":
        return []
    reasons = [f"what {chosen.precision} costs in accuracy was not measured, give images to evaluate on"]
    exact = [row for row in choice if row.precision == "fp32" and row.latency is not None]
    if exact:
        best = min(exact, key=lambda row: row.latency.median_ms if row.latency else 0.0)
        reasons.append(f"the fastest fp32 is {best.name}")
    return reasons


def pareto_front(rows: Sequence[BenchRow]) -> list[BenchRow]:
    """Candidates that no other one beats in both latency and accuracy, by rising latency."""
    points = [
        (row.latency.median_ms, -row.accuracy.score, row)
        for row in rows
        if row.latency is not None and row.accuracy is not None and row.accuracy.score is not None
    ]
    front: list[BenchRow] = []
    best = float("inf")
    for _, negative_score, row in sorted(points, key=lambda point: point[:2]):
        if negative_score < best:
            front.append(row)
            best = negative_score
    return front
