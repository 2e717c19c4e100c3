"""What a benchmark found: one row a candidate, and what they were measured against. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobileone.benchmarking.floor import Floor
from mobileone.benchmarking.latency import Latency
from mobileone.benchmarking.noise import Noise

if TYPE_CHECKING:
    from mobileone.benchmarking.ceilings import Ceilings

SCHEMA = "mobileone.bench/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How right a candidate is on the images given.

    Attributes:
        num_images: how many.
        top1: percent right; None without labels.
        agreement: percent of images whose likeliest class is PyTorch's in float; None without PyTorch's.
    """

    num_images: int
    top1: float | None
    agreement: float | None

    @property
    def score(self) -> float | None:
        """Top-1 where there are labels, else agreement."""
        return self.agreement if self.top1 is None else self.top1


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One candidate.

    Attributes:
        network: what it runs; candidates of one network compete with each other.
        backend: the runtime, or the form of PyTorch.
        precision: arithmetic that runs; what was asked for where nothing ran.
        device: where it ran: `"cpu"`, `"cuda:0"`, `"tensorrt:0"`.
        threads: and pinned cores.
        batch_size: images a run.
        is_baseline: PyTorch itself, not an artifact.
        artifact: the finished file that was given; None for one that was exported for the benchmark.
        size_bytes: of all files of what it runs; None for a baseline.
        runtime: library and version.
        latency: timed runs; None where it could not be measured.
        device_latency: on a GPU, the same without copies to it and back; None elsewhere.
        start_s: from the start of its process to its first result.
        open_s: of that, opening the session: loading, compiling.
        first_s: of that, the first run.
        idle_bytes: peak memory of the process before its runtime was loaded.
        peak_bytes: peak memory at the end of all runs.
        device_bytes: on a GPU, its memory that is taken once this runs, and was not before.
        accuracy: on the images given, or None.
        floor: least time that the ceilings allow this network, precision, batch and threads.
        reason: why there is no latency, or None.
    """

    network: str
    backend: str
    precision: str
    threads: int
    batch_size: int
    device: str = "cpu"
    is_baseline: bool = False
    artifact: str | None = None
    size_bytes: int | None = None
    runtime: str | None = None
    latency: Latency | None = None
    device_latency: Latency | None = None
    start_s: float | None = None
    open_s: float | None = None
    first_s: float | None = None
    idle_bytes: int | None = None
    peak_bytes: int | None = None
    device_bytes: int | None = None
    accuracy: Accuracy | None = None
    floor: Floor | None = None
    reason: str | None = None

    @property
    def runner(self) -> str:
        """Backend, and the file where one was given."""
        return f"{self.backend} ({Path(self.artifact).name})" if self.artifact else self.backend

    @property
    def name(self) -> str:
        """Runner, precision, device where it is a GPU, and threads."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        where = "" if self.device == "cpu" else f" on {self.device}"
        return f"{self.runner} {self.precision}{where}, {threads}"

    @property
    def of_floor(self) -> float | None:
        """Median over floor: 1 is as fast as the ceilings allow."""
        if self.latency is None or self.floor is None:
            return None
        return self.latency.median_ms / self.floor.milliseconds

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, every timed run among them."""
        timed = {name: getattr(self, name) for name in ("latency", "device_latency")}
        figures = {name: latency and latency.to_dict() for name, latency in timed.items()}
        return {**asdict(self), **figures, "of_floor": self.of_floor}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """Which candidate to use.

    Attributes:
        row: the candidate.
        reason: in words.
        command: that writes what it runs; None where there is nothing to write.
    """

    row: BenchRow
    reason: str
    command: str | None = None

    def __str__(self) -> str:
        return f"use {self.row.name}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchProtocol:
    """How it was measured.

    Attributes:
        processor: its name.
        accelerator: the GPU, with the versions of what drives it; None on the CPU.
        cores: cores this process may use.
        system: operating system and architecture.
        runtimes: library and version of each that took part.
        versions: of this package and Python.
        input: what was timed on.
        runs: timed runs wanted at batch 1.
        budget_s: seconds a candidate's timed runs may take at larger batches.
        rounds: into which they were cut.
        warmup_runs: untimed, before the first round.
        wake_s: seconds of untimed runs before every turn, one run at least.
        seed: of the order and the input.
        pinned: whether workers were confined to as many cores as threads.
        notes: what was left out.
        date: day, ISO 8601.
    """

    processor: str
    cores: int
    system: str
    runtimes: tuple[str, ...]
    versions: dict[str, str]
    input: str
    runs: int
    budget_s: float
    rounds: int
    warmup_runs: int
    wake_s: float
    seed: int
    pinned: bool
    notes: tuple[str, ...]
    date: str
    accelerator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """Everything a benchmark found; `bench_report` prints it.

    Attributes:
        rows: in the order of networks, batch sizes and medians; those without latency last.
        recommendations: one a network and batch size with any latency.
        ceilings: of the machine, by number of threads.
        noise: how quiet it was.
        protocol: how it was measured.
        eval_data: what accuracy was measured on, in words; None if on nothing.
        tolerance: points of accuracy or agreement that a recommended candidate may lose.
        reference: accuracy of PyTorch in float, by network.
    """

    rows: tuple[BenchRow, ...]
    recommendations: tuple[Recommendation, ...]
    ceilings: tuple[Ceilings, ...]
    noise: Noise
    protocol: BenchProtocol
    eval_data: str | None
    tolerance: float
    reference: dict[str, Accuracy]

    def groups(self) -> list[tuple[str, int, list[BenchRow]]]:
        """(network, batch size, rows) of candidates that compete."""
        return group(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; docs/benchmarking.md describes the schema."""
        return {
            "schema": SCHEMA,
            "rows": [row.to_dict() for row in self.rows],
            "recommendations": [
                {
                    "network": found.row.network,
                    "batch_size": found.row.batch_size,
                    "use": found.row.name,
                    "artifact": found.row.artifact,
                    "reason": found.reason,
                    "command": found.command,
                }
                for found in self.recommendations
            ],
            "ceilings": [ceilings.to_dict() for ceilings in self.ceilings],
            "noise": self.noise.to_dict(),
            "protocol": asdict(self.protocol),
            "eval_data": self.eval_data,
            "tolerance": self.tolerance,
            "reference": {name: asdict(accuracy) for name, accuracy in self.reference.items()},
        }

    def __str__(self) -> str:
        return "\n".join(map(str, self.recommendations)) or "nothing acceptable ran"


def group(rows: Sequence[BenchRow]) -> list[tuple[str, int, list[BenchRow]]]:
    """(network, batch size, rows) of candidates that compete, in order of appearance."""
    found: dict[tuple[str, int], list[BenchRow]] = {}
    for row in rows:
        found.setdefault((row.network, row.batch_size), []).append(row)
    return [(network, batch_size, rows) for (network, batch_size), rows in found.items()]
