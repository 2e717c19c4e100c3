"""Statistics of timed runs. Imports no torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, sqrt
from typing import Any

# Of a normal distribution: a 95 % interval reaches so many standard deviations to either side.
SIGMAS_95 = 1.96


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest rank: the smallest value that at least `percent` % of them do not exceed.

    >>> percentile([3, 1, 2, 5, 4, 7, 6, 8, 9, 10], 90), percentile([1, 2, 3], 50)
    (9, 2)
    """
    return sorted(values)[max(ceil(len(values) * percent / 100) - 1, 0)]


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """A 95 % interval of the median by order statistics: whatever their distribution (binomial, as normal).

    >>> median_interval(range(1, 101))
    (40, 61)
    >>> median_interval([1, 2, 3])
    (1, 3)
    """
    ordered, count = sorted(values), len(values)
    reach = SIGMAS_95 * sqrt(count) / 2
    low, high = floor(count / 2 - reach), ceil(count / 2 + reach)
    return ordered[max(low - 1, 0)], ordered[min(high, count - 1)]


@dataclass(frozen=True, slots=True)
class Latency:
    """One candidate's timed runs.

    Attributes:
        rounds: seconds of each run, round by round.
        batch_size: images a run.
    """

    rounds: tuple[tuple[float, ...], ...]
    batch_size: int

    @property
    def milliseconds(self) -> list[float]:
        """Of every run, in the order of measurement."""
        return [1e3 * seconds for one in self.rounds for seconds in one]

    @property
    def num_runs(self) -> int:
        """How many runs."""
        return sum(map(len, self.rounds))

    @property
    def median_ms(self) -> float:
        """Median of all runs."""
        return statistics.median(self.milliseconds)

    @property
    def p90_ms(self) -> float:
        """Nine of ten runs took no longer."""
        return percentile(self.milliseconds, 90)

    @property
    def min_ms(self) -> float:
        """The fastest run."""
        return min(self.milliseconds)

    @property
    def images_per_s(self) -> float:
        """Batch size over the median."""
        return 1e3 * self.batch_size / self.median_ms

    @property
    def interval_ms(self) -> tuple[float, float]:
        """Where the median would lie in 95 of 100 repetitions.

        It is taken over the rounds' medians: runs that follow each other share what disturbs them, rounds
        lie apart.
        """
        return median_interval([1e3 * statistics.median(one) for one in self.rounds])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, every timed run among them."""
        return {
            "runs": self.num_runs,
            "median_ms": self.median_ms,
            "p90_ms": self.p90_ms,
            "min_ms": self.min_ms,
            "interval_ms": self.interval_ms,
            "images_per_s": self.images_per_s,
            "rounds_ms": [[1e3 * seconds for seconds in one] for one in self.rounds],
        }
