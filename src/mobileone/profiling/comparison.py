"""Two profiles side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mobileone.profiling.profile_result import By, ProfileResult, ProfileRow

SCHEMA = "mobileone.comparison/1"


@dataclass(frozen=True)
class ProfileComparison:
    """Two networks measured in turns; `profile_report` prints it.

    Attributes:
        first: one profile.
        second: the other.
    """

    first: ProfileResult
    second: ProfileResult

    def rows(self, by: By = "operator") -> tuple[tuple[str, ProfileRow | None, ProfileRow | None], ...]:
        """(name, row of the first, row of the second): None where a network has no such row."""
        mine, theirs = ({row.name: row for row in p.rows(by)} for p in (self.first, self.second))
        return tuple((name, mine.get(name), theirs.get(name)) for name in {**mine, **theirs})

    @property
    def speedup(self) -> float:
        """Latency of the first over the second's."""
        return self.first.latency_ms / self.second.latency_ms

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; docs/cost.md describes the schema."""
        return {
            "schema": SCHEMA,
            "speedup": self.speedup,
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
        }

    def __str__(self) -> str:
        return f"{self.first}; {self.second}: {self.speedup:.2f} times"
