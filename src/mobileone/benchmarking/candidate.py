"""What competes: how to open it, what to feed it, and what is known about it beforehand. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobileone.benchmarking.bench_result import BenchRow
from mobileone.benchmarking.floor import NetworkShapes


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One combination of network, backend, precision, threads and batch size.

    Attributes:
        network: what it runs; candidates of one network compete with each other.
        backend: the runtime, or the form of PyTorch.
        precision: that is asked for.
        device: where it runs: `"cpu"`, `"cuda:0"`, `"tensorrt:0"`.
        threads: and pinned cores.
        batch_size: images a run.
        opener: `module:function` that gives a session.
        options: of the opener.
        inputs: .npy file of one batch.
        images: .npy file of the evaluation's images as the session takes them; None for no evaluation.
        artifact: the finished file that was given; None for one that was exported for the benchmark.
        size_bytes: of all files of what it runs; None for a baseline.
        is_baseline: PyTorch itself.
        environment: variables of its process.
        shapes: the network as the floor knows it, or None.
        refusal: why it cannot run, known without trying, or None.
    """

    network: str
    backend: str
    precision: str
    threads: int
    batch_size: int
    opener: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    inputs: Path | None = None
    images: Path | None = None
    artifact: Path | None = None
    size_bytes: int | None = None
    is_baseline: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    shapes: NetworkShapes | None = None
    refusal: str | None = None
    device: str = "cpu"

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device != "cpu"

    def row(self, **found: Any) -> BenchRow:
        """Its row, with what was found."""
        known: dict[str, Any] = {
            "network": self.network,
            "backend": self.backend,
            "precision": self.precision,
            "device": self.device,
            "threads": self.threads,
            "batch_size": self.batch_size,
            "is_baseline": self.is_baseline,
            "artifact": str(self.artifact) if self.artifact else None,
            "size_bytes": self.size_bytes,
        }
        return BenchRow(**known | found)
