"""What every clock gives: operators with their times, and how they were got. Imports no torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from mobileone.profiling.operator import Operand, Operator

ClockName = Literal["onnxruntime", "torch"]

WARMUP_RUNS = 10
# Runs between two looks at the time or at the other model of a comparison.
CHUNK_RUNS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One network, executed many times.

    Attributes:
        operators: in order of execution, each with its time.
        operator_sums_ms: of each run, the sum over its operators.
        latencies_ms: of as many further runs without any profiler, the whole run.
        num_parameters: learnt values, shared ones once.
        inputs: what the network was given.
    """

    operators: tuple[Operator, ...]
    operator_sums_ms: tuple[float, ...]
    latencies_ms: tuple[float, ...]
    num_parameters: int
    inputs: tuple[Operand, ...]


class Clock(Protocol):
    """Executes one network operator by operator; warmed up once it is built."""

    def measure(self, runs: int) -> None:
        """Time that many more runs."""

    def finish(self) -> Measurement:
        """All that was measured; the clock is of no use afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementProtocol:
    """How the times of a profile were measured.

    Attributes:
        clock: `onnxruntime` or `torch`.
        optimized: whether the runtime was free to merge and rewrite operators.
        device: where it ran.
        processor: its name.
        cores: cores this process may use.
        threads: threads of the runtime.
        runs: timed runs.
        warmup: runs before them.
        versions: of the libraries that took part.
        inputs: shape and type of every input.
        date: day of the measurement, ISO 8601.
    """

    clock: ClockName
    optimized: bool
    device: str
    processor: str
    cores: int
    threads: int
    runs: int
    warmup: int
    versions: dict[str, str]
    inputs: tuple[str, ...]
    date: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of the middle half: deaf to outliers like a median, but finer than a clock's tick.

    >>> interquartile_mean([1, 2, 3, 100])
    2.5
    """
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return statistics.fmean(ordered[quarter : len(ordered) - quarter])
