"""Candidates to rows: workers are started, take turns, are evaluated, and may fail one by one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mobileone.benchmarking.bench_result import Accuracy, BenchRow
from mobileone.benchmarking.candidate import Candidate
from mobileone.benchmarking.card import Card
from mobileone.benchmarking.latency import Latency
from mobileone.benchmarking.noise import Noise
from mobileone.benchmarking.process import WorkerError, WorkerProcess
from mobileone.benchmarking.turns import interleave, timed_runs
from mobileone.progress_bar import progress_bar

T = TypeVar("T")

WARMUP_RUNS = 10
# Before the first round, large batches warm up for no longer than this.
WARMUP_S = 1.0
# Untimed, before each turn: the others have had the caches meanwhile, and the system needs some time to put
# threads that it woke on one core back on one each.
WAKE_S = 0.05
MIN_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementPlan:
    """How to measure.

    Attributes:
        runs: timed runs at batch 1.
        budget_s: seconds that the timed runs of a candidate may take at larger batches.
        seed: of the order.
        cores: that may be used; a candidate is pinned to the last ones.
        workspace: an empty folder for logits.
        labels: class indices of the evaluation's images, int64 (N,); None without.
        progress: whether to show bars on stderr.
        card: the GPU that candidates run on; None for the CPU.
    """

    runs: int
    budget_s: float
    seed: int
    cores: Sequence[int]
    workspace: Path
    labels: np.ndarray[Any, Any] | None = None
    progress: bool = True
    card: Card | None = None


@dataclass(slots=True)
class _Entry:
    """A candidate on its way to a row."""

    candidate: Candidate
    worker: WorkerProcess | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    rounds: list[tuple[float, ...]] = field(default_factory=list)
    device_rounds: list[tuple[float, ...]] = field(default_factory=list)
    run_s: float = 0.0

    def fail(self, reason: str) -> None:
        """Give it up: the row says why."""
        self.facts["reason"] = reason
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def row(self) -> BenchRow:
        """What came of it; half-measured is not measured."""
        complete = self.rounds and "reason" not in self.facts
        latency, resident = (
            Latency(tuple(rounds), self.candidate.batch_size) if complete and rounds else None
            for rounds in (self.rounds, self.device_rounds)
        )
        return self.candidate.row(**self.facts, latency=latency, device_latency=resident)


def measure(
    candidates: Sequence[Candidate],
    plan: MeasurementPlan,
    noise: Noise,
    *,
    reference: Callable[[str], Path | None],
) -> list[BenchRow]:
    """Measure all candidates: batch sizes one after another, within each all in turns.

    Args:
        candidates: in the order of the rows.
        plan: how.
        noise: watched meanwhile.
        reference: the .npy file of PyTorch's float logits of a network's evaluation, or None.
    """
    entries = [_Entry(candidate) for candidate in candidates]
    scores: dict[tuple[str, ...], Accuracy | str] = {}
    rehearsed: set[str] = set()
    for batch_size in dict.fromkeys(candidate.batch_size for candidate in candidates):
        own = [entry for entry in entries if entry.candidate.batch_size == batch_size]
        with ExitStack() as stack:
            for entry in _bar(own, f"starting, batch {batch_size}", "worker", plan):
                _start(entry, plan, rehearsed, stack)
            _take_turns(own, plan, noise, title=f"measuring, batch {batch_size}")
            for entry in _bar(own, "evaluating", "worker", plan):
                _evaluate(entry, plan, scores, reference)
    return [entry.row() for entry in entries]


def _bar(items: Sequence[T], title: str, unit: str, plan: MeasurementPlan) -> Iterable[T]:
    bar: Iterable[T] = progress_bar(items, title=title, unit=unit, hidden=not plan.progress)
    return bar


def _open(candidate: Candidate, cores: Sequence[int]) -> tuple[WorkerProcess, dict[str, Any]]:
    """A worker with its session open; on failure the worker is closed."""
    worker = WorkerProcess(cores, environment=candidate.environment)
    try:
        answer = worker.ask(
            "open",
            opener=candidate.opener,
            options=candidate.options,
            inputs=str(candidate.inputs),
            started_ns=worker.started_ns,
        )
    except BaseException:
        worker.close()
        raise
    return worker, answer


def _start(entry: _Entry, plan: MeasurementPlan, rehearsed: set[str], stack: ExitStack) -> None:
    candidate = entry.candidate
    if candidate.refusal is not None:
        entry.fail(candidate.refusal)
        return
    cores = plan.cores[-candidate.threads :]
    try:
        library = candidate.opener if candidate.is_baseline else candidate.backend
        if library not in rehearsed and not candidate.environment:
            # Once for nothing, so that the runtime's files are in memory for everyone's cold start.
            rehearsed.add(library)
            _open(candidate, cores)[0].close()
        before = None if plan.card is None else plan.card.used_bytes()
        entry.worker, answer = _open(candidate, cores)
        stack.callback(lambda: entry.worker.close() if entry.worker else None)
        entry.facts = {
            name: answer[name] for name in ("runtime", "start_s", "open_s", "first_s", "idle_bytes")
        }
        if answer["precision"] != candidate.precision:
            entry.fail(f"runs in {answer['precision']}, not in {candidate.precision}")
            return
        first = entry.worker.ask("time", warmup=0, runs=2)["seconds"]
        warmup = min(WARMUP_RUNS, 1 + int(WARMUP_S / max(min(first), 1e-6)))
        entry.run_s = statistics.median(entry.worker.ask("time", warmup=warmup, runs=3)["seconds"])
        if candidate.on_gpu:
            entry.worker.ask("time", warmup=warmup, runs=1, on_device=True)
        if plan.card is not None and before is not None:
            entry.facts["device_bytes"] = max((plan.card.used_bytes() or 0) - before, 0)
    except WorkerError as error:
        entry.fail(str(error))


def _take_turns(entries: Sequence[_Entry], plan: MeasurementPlan, noise: Noise, *, title: str) -> None:
    """Interleaved rounds; whoever fails drops out."""
    runs = {
        index: timed_runs(
            wanted=plan.runs,
            batch_size=entry.candidate.batch_size,
            run_s=entry.run_s,
            budget_s=plan.budget_s,
        )
        for index, entry in enumerate(entries)
        if entry.worker is not None
    }
    turns = interleave(runs, seed=plan.seed)
    for number, (index, count) in enumerate(_bar(turns, title, "turn", plan)):
        if number % max(len(runs), 1) == 0:
            noise.watch()
        entry = entries[index]
        if entry.worker is None:
            continue
        warmup = ceil(WAKE_S / max(entry.run_s, 1e-4))
        timeout_s = max(MIN_TIMEOUT_S, 20 * (warmup + count) * entry.run_s)
        request = {"warmup": warmup, "runs": count, "timeout_s": timeout_s}
        try:
            answer = entry.worker.ask("time", **request)
            if entry.candidate.on_gpu:
                resident = entry.worker.ask("time", **request, on_device=True)
                entry.device_rounds.append(tuple(resident["seconds"]))
        except WorkerError as error:
            entry.fail(str(error))
            continue
        entry.rounds.append(tuple(answer["seconds"]))
        entry.facts["peak_bytes"] = answer["peak_bytes"]


def _evaluate(
    entry: _Entry,
    plan: MeasurementPlan,
    scores: dict[tuple[str, ...], Accuracy | str],
    reference: Callable[[str], Path | None],
) -> None:
    """Accuracy of one candidate; it does not depend on threads and batch size, so the first one's counts."""
    candidate = entry.candidate
    if entry.worker is None or candidate.images is None:
        return
    key = (
        candidate.network,
        candidate.backend,
        candidate.precision,
        candidate.device,
        str(candidate.artifact),
    )
    if key not in scores:
        logits = plan.workspace / "logits.npy"
        try:
            entry.worker.ask("evaluate", images=str(candidate.images), logits=str(logits), timeout_s=3600.0)
        except WorkerError as error:
            scores[key] = f"cannot be evaluated: {error}"
        else:
            scores[key] = score(np.load(logits), labels=plan.labels, reference=reference(candidate.network))
    found = scores[key]
    if isinstance(found, Accuracy):
        entry.facts["accuracy"] = found
    else:
        entry.fail(found)


def score(
    logits: np.ndarray[Any, Any], *, labels: np.ndarray[Any, Any] | None, reference: Path | None
) -> Accuracy:
    """Accuracy of logits (N, classes).

    Args:
        logits: of a candidate.
        labels: class indices (N,), or None.
        reference: .npy file of PyTorch's float logits of the same images, or None.
    """
    first, top1, agreement = logits.argmax(1), None, None  # of equal logits the first counts
    if labels is not None:
        right = (first == labels) & ~np.isnan(logits).any(1)
        top1 = 100 * float(right.mean())
    if reference is not None:
        agreement = 100 * float((first == np.load(reference).argmax(1)).mean())
    return Accuracy(num_images=len(logits), top1=top1, agreement=agreement)
