"""Workers seen from outside: asked, outlived, killed."""

import pytest

from mobileone.benchmarking.process import WorkerError, WorkerProcess

from .conftest import CORE, FAKE


def test_a_worker_that_hangs_is_killed(inputs):
    with WorkerProcess(CORE) as worker:
        options = {"opener": f"{FAKE}:Fake", "inputs": str(inputs), "started_ns": worker.started_ns}
        worker.ask("open", options={"fail": "hang", "after": 1}, **options)
        with pytest.raises(WorkerError, match=r"no answer within 0 s"):
            worker.ask("time", warmup=0, runs=1, timeout_s=0.2)
        with pytest.raises(WorkerError, match="SIGKILL"):
            worker.ask("time", warmup=0, runs=1)


def test_what_a_runtime_prints_is_no_answer(inputs):
    with WorkerProcess(CORE) as worker:
        options = {"opener": f"{FAKE}:Chatty", "inputs": str(inputs), "started_ns": worker.started_ns}
        answer = worker.ask("open", options={}, **options)
        assert answer["precision"] == "fp32"
        assert len(worker.ask("time", warmup=1, runs=2)["seconds"]) == 2


PINNED = """
import os
class Report:
    runtime = "x"
    precision = ",".join(map(str, sorted(os.sched_getaffinity(0)))) + "/" + os.environ["OMP_NUM_THREADS"]
    def run(self, batch): return batch
"""


@pytest.mark.skipif("not hasattr(__import__('os'), 'sched_getaffinity')")
def test_a_worker_is_pinned_before_its_runtime_is_imported(tmp_path, inputs):
    (tmp_path / "report.py").write_text(PINNED)
    with WorkerProcess(CORE) as worker:
        answer = worker.ask(
            "open",
            opener=f"{tmp_path / 'report.py'}:Report",
            options={},
            inputs=str(inputs),
            started_ns=worker.started_ns,
        )
    assert answer["precision"] == f"{CORE[0]}/1"
    assert answer["pinned"] is True


def test_an_error_of_the_runtime_leaves_the_worker_alive(inputs):
    with WorkerProcess(CORE) as worker:
        options = {"opener": f"{FAKE}:Fake", "inputs": str(inputs), "started_ns": worker.started_ns}
        with pytest.raises(WorkerError, match="ValueError: this runtime refuses"):
            worker.ask("open", options={"fail": "open"}, **options)
        assert worker.ask("open", options={}, **options)["runtime"] == "fake 1.0"


def test_settings_of_the_shell_do_not_reach_a_worker(inputs, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    (tmp_path / "look.py").write_text(PINNED.replace('os.environ["OMP_NUM_THREADS"]', LOOK))
    with WorkerProcess(CORE, environment={"MINE": "1"}) as worker:
        answer = worker.ask(
            "open",
            opener=f"{tmp_path / 'look.py'}:Report",
            options={},
            inputs=str(inputs),
            started_ns=worker.started_ns,
        )
    assert answer["precision"].endswith("/None 1 1")


LOOK = '" ".join([str(os.environ.get("OMP_WAIT_POLICY")), os.environ["MKL_NUM_THREADS"], os.environ["MINE"]])'
