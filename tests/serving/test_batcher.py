"""Items that wait share a call; each caller gets its own result, whatever happens to others."""

import threading

import pytest

from mobileone.serving.batcher import Batcher, QueueFullError


@pytest.fixture
def gate():
    return threading.Event()


@pytest.fixture
def batcher(gate):
    sizes = []

    def double(items):
        assert gate.wait(30)
        if "bad" in items:
            raise ValueError("bad")
        return [2 * item for item in items]

    own = Batcher(double, batch_size=3, queue_size=5, on_batch=sizes.append)
    own.sizes = sizes
    yield own
    gate.set()
    own.close()


def submit_first(batcher, item):
    """An item that the thread has taken, so that all that follow wait."""
    future = batcher.submit(item)
    while len(batcher):
        pass
    return future


def test_what_waits_is_taken_together_up_to_a_batch(batcher, gate):
    futures = [submit_first(batcher, 0), *(batcher.submit(number) for number in range(1, 6))]
    gate.set()
    assert [future.result(30) for future in futures] == [0, 2, 4, 6, 8, 10]
    assert batcher.sizes == [1, 3, 2]


def test_a_full_queue_refuses_and_loses_nothing(batcher, gate):
    futures = [submit_first(batcher, 0), *(batcher.submit(number) for number in range(1, 6))]
    with pytest.raises(QueueFullError):
        batcher.submit(6)
    gate.set()
    assert [future.result(30) for future in futures] == [0, 2, 4, 6, 8, 10]
    assert batcher.submit(7).result(30) == 14


def test_a_failure_is_that_of_its_call_alone(batcher, gate):
    first = submit_first(batcher, 1)
    wrong = batcher.submit("bad")
    gate.set()
    assert first.result(30) == 2
    with pytest.raises(ValueError, match="bad"):
        wrong.result(30)
    assert batcher.submit(4).result(30) == 8


def test_who_gives_up_is_not_computed(batcher, gate):
    first, gone, last = submit_first(batcher, 1), batcher.submit(2), batcher.submit(3)
    assert gone.cancel()
    gate.set()
    assert (first.result(30), last.result(30)) == (2, 6)
    assert batcher.sizes == [1, 1]


def test_closing_answers_what_waits(gate):
    batcher = Batcher(lambda items: list(items), batch_size=2, queue_size=9)
    futures = [batcher.submit(number) for number in range(5)]
    batcher.close()
    assert [future.result(0) for future in futures] == [0, 1, 2, 3, 4]
