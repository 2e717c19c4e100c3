"""How often a run is saved within an epoch. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mobileone.errors import ConfigError

_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*(s|steps?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Seconds of wall time, or optimizer steps, between checkpoints; neither is none within an epoch.

    >>> Interval.parse("500steps"), Interval.parse("1000s").seconds
    (Interval(seconds=None, steps=500), 1000.0)
    """

    seconds: float | None = None
    steps: int | None = None

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read `"1000s"`, `"500steps"` or `"none"`.

        Raises:
            ConfigError: on anything else.
        """
        if text == "none":
            return cls()
        match = _TEXT.fullmatch(text)
        if match and match[2] == "s" and float(match[1]) > 0:
            return cls(seconds=float(match[1]))
        if match and match[2] != "s" and match[1].isdigit() and int(match[1]) > 0:
            return cls(steps=int(match[1]))
        raise ConfigError(f"checkpoint_every must be like 1000s, 500steps or none, got {text!r}")

    def is_due(self, *, seconds: float, steps: int, before: int) -> bool:
        """Whether to save now.

        Args:
            seconds: since the last checkpoint.
            steps: of the run so far.
            before: steps of the run at the last checkpoint.
        """
        if self.seconds is not None:
            return seconds >= self.seconds
        return self.steps is not None and steps // self.steps > before // self.steps
