"""Time or steps between checkpoints."""

import pytest

from mobileone.errors import ConfigError
from mobileone.training.config.interval import Interval


@pytest.mark.parametrize("text", ["", "1000", "0s", "0steps", "1.5steps", "-1s", "1h", "500 s teps"])
def test_other_intervals_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="1000s, 500steps or none"):
        Interval.parse(text)


def test_steps_are_due_when_a_multiple_has_been_passed() -> None:
    every = Interval.parse("10steps")
    due = [
        every.is_due(seconds=1e9, steps=steps, before=before)
        for steps, before in ((9, 0), (10, 0), (19, 10), (21, 19), (20, 20))
    ]
    assert due == [False, True, False, True, False]
    assert Interval.parse("1step").steps == 1


def test_seconds_are_due_whatever_the_steps_and_none_never_is() -> None:
    every = Interval.parse("1.5s")
    assert [every.is_due(seconds=s, steps=0, before=0) for s in (1.4, 1.5)] == [False, True]
    assert not Interval.parse("none").is_due(seconds=1e9, steps=10**9, before=0)
