"""Waiting, and what is left."""

import time

import pytest

from mobileone.training.run.progress import Waits, duration


def test_waits_count_the_loader_and_not_the_work() -> None:
    class Slow:
        def __iter__(self):  # type: ignore[no-untyped-def]
            for batch in "ab":
                time.sleep(0.05)
                yield batch

    waits = Waits(Slow())  # type: ignore[arg-type]
    seen = []
    for batch in waits:
        seen.append(batch)
        time.sleep(0.2)
    assert seen == ["a", "b"]
    assert waits.seconds == pytest.approx(0.1, abs=0.08)


def test_durations_round_to_what_people_say() -> None:
    assert [duration(s) for s in (0.4, 59.4, 90, 3599, 3600, 86_400)] == [
        "0 s",
        "59 s",
        "2 min",
        "1 h 00 min",
        "1 h 00 min",
        "1 d 0 h",
    ]
