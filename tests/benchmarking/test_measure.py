"""Workers: they measure what takes a known time, and one that fails takes nobody with it."""

from dataclasses import replace

import numpy as np
import pytest

from mobileone.benchmarking import measure as measure_module
from mobileone.benchmarking.card import Card
from mobileone.benchmarking.measure import MeasurementPlan, measure, score
from mobileone.benchmarking.noise import Noise
from mobileone.benchmarking.process import WorkerProcess

from .conftest import CORE


@pytest.fixture
def run(tmp_path):
    """Measures candidates with few runs."""

    def apply(*candidates, runs=4, labels=None, reference=None, card=None):
        plan = MeasurementPlan(
            runs=runs,
            budget_s=0.05,
            seed=0,
            cores=CORE,
            workspace=tmp_path,
            labels=labels,
            progress=False,
            card=card,
        )
        noise = Noise(CORE)
        rows = measure(candidates, plan, noise, reference=lambda network: reference)
        return rows, noise

    return apply


def test_the_seconds_that_a_worker_counts_make_the_row(candidate, run, monkeypatch):
    answers = []
    real = WorkerProcess.ask

    def ask(self, do, **request):
        answer = real(self, do, **request)
        if do == "time":
            answers.append(tuple(answer["seconds"]))
        return answer

    monkeypatch.setattr(WorkerProcess, "ask", ask)
    (row,), noise = run(candidate(seconds=0.01), runs=6)
    assert row.reason is None
    assert row.latency.rounds == tuple(answers[-6:]), "two rehearsals before them are warm-up"
    assert len(answers) == 8
    assert row.latency.num_runs == 6
    assert row.latency.min_ms >= 10, "the session sleeps so long"
    assert row.start_s > row.open_s >= 0
    assert row.runtime == "fake 1.0"
    assert 0 < row.idle_bytes <= row.peak_bytes
    assert len(noise.spins_ms[CORE[0]]) >= 10


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"fail": "open"}, "ValueError: this runtime refuses"),
        ({"fail": "error"}, "RuntimeError: the kernel failed"),
        ({"fail": "abort"}, "crashed with SIGABRT"),
        ({"fail": "abort", "after": 18}, "crashed with SIGABRT"),
    ],
)
def test_one_that_fails_is_a_row_with_a_reason_and_the_others_go_on(candidate, run, options, reason):
    rows, _ = run(candidate(), candidate(backend="bad", **options), candidate())
    assert [row.backend for row in rows] == ["fake", "bad", "fake"]
    assert [row.latency is None for row in rows] == [False, True, False]
    assert reason in rows[1].reason


def test_a_session_of_another_precision_is_not_measured_under_a_wrong_name(inputs, run, candidate):
    asked = replace(candidate(precision="int8"), options={"precision": "fp32"})
    (row,), _ = run(asked)
    assert (row.latency, row.reason) == (None, "runs in fp32, not in int8")


def test_a_refusal_known_beforehand_starts_no_process(candidate, run, monkeypatch):
    monkeypatch.setattr(measure_module, "WorkerProcess", None)
    (row,), _ = run(replace(candidate(), refusal="not here"))
    assert (row.latency, row.reason) == (None, "not here")


def test_large_batches_get_what_the_budget_allows(candidate, run):
    rows, _ = run(candidate(batch=8, seconds=0.02), candidate(seconds=0.001), runs=50)
    assert [row.latency.num_runs for row in rows] == [5, 50]  # 0.05 s allow 2, the least is 5


def test_accuracy_comes_from_the_session(candidate, run, tmp_path):
    images, expected = tmp_path / "images.npy", tmp_path / "expected.npy"
    np.save(images, np.arange(7, dtype=np.float32).reshape(7, 1, 1, 1).repeat(2, 2).repeat(2, 3))
    np.save(expected, np.eye(4)[[0, 1, 2, 3, 0, 0, 0]])
    labels = np.array([0, 1, 2, 3, 3, 3, 3])
    (row,), _ = run(replace(candidate(), images=images), labels=labels, reference=expected)
    assert row.accuracy.num_images == 7
    assert row.accuracy.top1 == pytest.approx(100 * 4 / 7)
    assert row.accuracy.agreement == pytest.approx(100 * 5 / 7)
    crashing = replace(candidate(fail="photos"), images=images)
    (row,), _ = run(crashing)
    assert row.latency is None
    assert "cannot be evaluated: crashed" in row.reason


def test_scores_without_labels_and_without_reference():
    logits = np.eye(4)[[1, 2]]
    assert score(logits, labels=None, reference=None).score is None
    assert score(logits, labels=np.array([1, 1]), reference=None).score == 50


class PlayedCard(Card):
    """Every candidate takes a megabyte of it."""

    def used_bytes(self):
        used.append(2**20)
        return sum(used)


used: list[int] = []


@pytest.fixture
def on_card(run, candidate):
    """Measures fake candidates on a GPU."""

    def apply(*options):
        made = [
            replace(candidate(session="FakeOnGpu", backend=f"fake {n}", **each), device="cuda:0")
            for n, each in enumerate(options)
        ]
        return run(*made, card=PlayedCard(device="cuda:0", name="a card"))[0]

    return apply


def test_on_a_gpu_a_run_is_timed_with_its_copies_and_without(on_card):
    (row,) = on_card({"seconds": 0.02})
    assert (row.reason, row.device) == (None, "cuda:0")
    assert row.latency.num_runs == row.device_latency.num_runs == 4
    assert row.latency.min_ms >= 20
    assert 2 <= row.device_latency.min_ms < 20
    assert row.device_bytes == 2**20


def test_what_has_no_room_on_the_gpu_is_a_row_with_a_reason(on_card):
    bad, good = on_card({"fail": "resident"}, {})
    assert (bad.latency, bad.device_latency) == (None, None)
    assert bad.reason == "ValueError: the GPU has no room for the batch"
    assert good.reason is None


def test_on_the_processor_nothing_is_timed_twice(run, candidate):
    (row,), _ = run(candidate())
    assert (row.device, row.device_latency, row.device_bytes) == ("cpu", None, None)
