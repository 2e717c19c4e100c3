"""How quiet the machine is: a fixed piece of work, timed again and again on the cores that are used."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mobileone.benchmarking.latency import percentile

SPINS = 20_000  # about half a millisecond
SPINS_AT_ONCE = 10
WAKE_SPINS = 5  # not counted: a core that has slept needs a moment
# Beyond these a machine counts as busy: slower than its best by so much, or so many others running.
MAX_SPREAD = 0.10
MAX_LOAD = 0.5


def spin_ms() -> float:
    """Milliseconds of a fixed loop, on the core where the caller is."""
    start = time.perf_counter()
    for _ in range(SPINS):
        pass
    return 1e3 * (time.perf_counter() - start)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Confine the calling thread to one core meanwhile, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def load_average() -> float | None:
    """Processes that ran or wanted to in the last minute; None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


@dataclass(slots=True)
class Noise:
    """What the machine did besides.

    Attributes:
        cores: that are watched.
        load_before: load average before the first worker ran; None where the system does not tell.
        spins_ms: of each core, every time of the fixed loop, over the whole run.
    """

    cores: Sequence[int]
    load_before: float | None = field(default_factory=load_average)
    spins_ms: dict[int, list[float]] = field(default_factory=dict)

    def watch(self) -> None:
        """Time the loop on every core."""
        for core in self.cores:
            with on_core(core):
                times = [spin_ms() for _ in range(WAKE_SPINS + SPINS_AT_ONCE)]
            self.spins_ms.setdefault(core, []).extend(times[WAKE_SPINS:])

    @property
    def spread(self) -> float:
        """How much slower than its best the loop's slowest tenth was, on the worst core: 0 is quiet."""
        return max((percentile(times, 90) / min(times) - 1 for times in self.spins_ms.values()), default=0.0)

    @property
    def typical(self) -> float:
        """How much slower than its best the loop was at its median, on the worst core."""
        return max(
            (statistics.median(times) / min(times) - 1 for times in self.spins_ms.values()), default=0.0
        )

    @property
    def warning(self) -> str | None:
        """Why the machine is too busy for its figures to be trusted, or None."""
        reasons = []
        if self.load_before is not None and self.load_before > MAX_LOAD:
            reasons.append(f"load average {self.load_before:.2f} before the first run")
        if self.spread > MAX_SPREAD:
            reasons.append(f"one in ten reference loops took {100 * self.spread:.0f} % longer or more")
        return (
            f"this machine is busy ({'; '.join(reasons)}): trust minima, repeat when it is quiet"
            if reasons
            else None
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "load_before": self.load_before,
            "spread": self.spread,
            "typical": self.typical,
            "warning": self.warning,
            "spins_ms": {str(core): times for core, times in self.spins_ms.items()},
        }
