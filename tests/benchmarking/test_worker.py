"""A worker from inside."""

import numpy as np
import pytest

from mobileone.benchmarking.worker import Worker, find, peak_bytes

from .conftest import FAKE


def test_evaluation_fills_the_last_batch_up(inputs, tmp_path):

    worker = Worker()
    worker.session, worker.inputs = find(f"{FAKE}:Fake")(), np.zeros((4, 1, 1, 1))
    np.save(tmp_path / "images.npy", np.arange(6).reshape(6, 1, 1, 1))
    worker.evaluate({"images": str(tmp_path / "images.npy"), "logits": str(tmp_path / "logits.npy")})
    assert np.load(tmp_path / "logits.npy").argmax(1).tolist() == [0, 1, 2, 3, 0, 1]


def test_peak_memory_sees_what_was_held():
    before = peak_bytes()
    block = np.ones(50_000_000, np.uint8)
    assert block[-1] == 1
    del block
    assert peak_bytes() >= before
    assert peak_bytes() > 50_000_000


def test_times_are_of_the_runs_after_warm_up():
    worker = Worker()
    worker.session, worker.inputs = find(f"{FAKE}:Fake")(), np.zeros((1, 1, 1, 1))
    answer = worker.time({"warmup": 3, "runs": 2})
    assert len(answer["seconds"]) == 2
    assert min(answer["seconds"]) >= 0
    assert worker.session.runs == 5
    assert answer["peak_bytes"] > 0


def test_opening_runs_once_and_says_what_it_found(inputs):
    worker = Worker()
    request = {
        "opener": f"{FAKE}:Fake",
        "options": {"precision": "int8"},
        "inputs": str(inputs),
        "started_ns": 0,
    }
    answer = worker.open(request)
    assert (answer["precision"], answer["runtime"], worker.session.runs) == ("int8", "fake 1.0", 1)
    assert answer["start_s"] >= answer["open_s"] + answer["first_s"]


def test_openers_are_found_by_module_and_by_file():
    assert find("json:loads")("[1]") == [1]
    assert find(f"{FAKE}:Chatty").__name__ == "Chatty"
    with pytest.raises(AttributeError):
        find(f"{FAKE}:Nobody")


def test_without_copies_the_batch_is_put_on_the_gpu_once():
    worker = Worker()
    worker.session, worker.inputs = find(f"{FAKE}:FakeOnGpu")(), np.zeros((1, 1, 1, 1))
    put, ran = [], []
    worker.session.resident = lambda batch: put.append(batch.shape) or (lambda: ran.append(1))
    for _ in range(2):
        answer = worker.time({"warmup": 3, "runs": 2, "on_device": True})
    assert len(answer["seconds"]) == 2
    assert (put, len(ran), worker.session.runs) == ([(1, 1, 1, 1)], 10, 0)
