"""Who may write to a run's folder: one process at a time."""

import dataclasses
import threading
import time
from pathlib import Path

import pytest
from benchmarks.kill_resume import configuration, finish, start
from filelock import FileLock

from mobileone.cli.reference import keep_earlier_run
from mobileone.errors import TrainingError
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit
from mobileone.training.run.loop import TrainLoop
from mobileone.training.run.run_dir import RunDir


def test_fault_two_processes_in_one_folder(tmp_path: Path) -> None:
    config = configuration(ranks=1, epochs=50)
    run_dir = tmp_path / "weights"
    (process,) = start(config, run_dir, ranks=1)
    try:
        deadline = time.monotonic() + 60
        while not (run_dir / "train.log").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        refusal = "another process is training in .*weights"
        with pytest.raises(TrainingError, match=refusal):
            fit(config, run_dir=run_dir, resume=True, progress=False)
        with pytest.raises(TrainingError, match=refusal):
            keep_earlier_run(run_dir)
        assert process.is_alive()
    finally:
        process.kill()
        finish([process])
    with RunDir(run_dir).lock():  # a kill leaves the file, not the lock
        assert (run_dir / ".lock").exists()
    keep_earlier_run(run_dir)
    assert (tmp_path / "weights.1" / "config.json").exists()


def test_a_log_that_cannot_be_written_goes_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RunDir(tmp_path / "nowhere").log("something happened", show=False)
    assert "something happened (not in train.log: No such file" in capsys.readouterr().err


def test_a_file_system_without_locks_is_trained_on_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object, **__: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", unsupported)
    with RunDir(tmp_path).lock(), RunDir(tmp_path).lock():
        assert tmp_path.exists()


def test_a_lock_is_free_after_an_error(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(TrainLoop, "run", fail)
    with pytest.raises(ZeroDivisionError):
        fit(config, run_dir=tmp_path / "run", progress=False)
    with RunDir(tmp_path / "run").lock():
        pass


def test_training_in_a_thread_leaves_the_signals_alone(config: TrainConfig, tmp_path: Path) -> None:
    results: list[object] = []
    one = dataclasses.replace(config, epochs=1)
    thread = threading.Thread(
        target=lambda: results.append(fit(one, run_dir=tmp_path / "run", progress=False))
    )
    thread.start()
    thread.join(60)
    assert len(results) == 1
