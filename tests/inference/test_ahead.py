"""Work ahead of its consumer: in order, in its place, and never too far."""

import threading

import pytest

from mobileone.inference.ahead import map_ahead


def test_two_work_at_the_same_time():
    together = threading.Barrier(2, timeout=30)  # lets nobody through alone

    def work(item):
        together.wait()
        return item

    assert list(map_ahead(work, range(6), workers=2, ahead=4)) == list(range(6))


def test_items_are_taken_as_they_are_needed():
    taken = []
    items = (taken.append(item) or item for item in range(100))
    results = map_ahead(str, items, workers=2, ahead=5)
    assert taken == []
    assert next(results) == "0"
    assert len(taken) == 6
    assert list(results) == [str(item) for item in range(1, 100)]


def test_what_waits_is_given_up_with_the_consumer():
    taken = []
    results = map_ahead(taken.append, range(100), workers=1, ahead=3)
    next(results)
    results.close()
    assert len(taken) <= 4


def test_an_error_ahead_comes_in_its_place():
    results = map_ahead(lambda item: 1 // item, [1, 1, 0, 1], workers=2, ahead=4)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
