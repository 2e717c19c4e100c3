"""Resume files: when they are due, what going on takes over, and what a full disk does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mobileone.checkpoint import rotation as rotation_module
from mobileone.checkpoint.rotation import Rotation
from mobileone.data.folder import find_images
from mobileone.errors import MobileOneError, TrainingError
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run import savepoints as savepoints_module
from mobileone.training.run.progress import EpochProgress, RunProgress
from mobileone.training.run.run_dir import RunDir
from mobileone.training.run.savepoints import RETRY_S, Savepoints
from mobileone.training.run.trainer import Trainer

Make = Callable[..., Savepoints]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def make(config: TrainConfig, tmp_path: Path, lines: list[str]) -> Make:
    """The resume files of a fresh trainer in one folder."""

    def savepoints(**changes: object) -> Savepoints:
        own = config.with_values(changes)
        trainer = Trainer(own, find_images(own.data, split="train"), Distributed())
        progress = RunProgress(steps_per_epoch=trainer.steps_per_epoch, step_images=trainer.step_images)
        return Savepoints(trainer, progress, RunDir(tmp_path / "run"), log=lines.append)

    return savepoints


def one_step(savepoints: Savepoints) -> None:
    batch = next(iter(savepoints.trainer.batches(0)))
    savepoints.trainer.take(batch, step=0)
    savepoints.progress.now.steps += 1
    savepoints.progress.now.losses.append(0.5)


def test_another_process_takes_everything_over(make: Make) -> None:
    before = make()
    one_step(before)
    before.progress.num_skipped = 2
    assert not before.is_saved
    before.save()
    assert before.is_saved
    after = make(seed=1)
    after.restore()
    assert after.is_saved
    assert after.progress == before.progress
    wanted, got = before.trainer.state_dict(), after.trainer.state_dict()
    assert got["ema"]["num_updates"] == 1
    for part in (lambda s: s["network"], lambda s: s["ema"]["module"], lambda s: s["optimizer"]["state"]):
        torch.testing.assert_close(part(got), part(wanted), rtol=0, atol=0)


def test_no_file_yet_is_the_start(make: Make) -> None:
    savepoints = make()
    savepoints.restore()
    assert savepoints.progress.step == 0


def test_the_newest_file_is_read_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    before = make()
    before.save()
    read: list[Path] = []
    real = rotation_module.load_state

    def noted(path: Path) -> Any:
        read.append(path)
        return real(path)

    for module in (rotation_module, savepoints_module):
        monkeypatch.setattr(module, "load_state", noted)
    make().restore()
    assert read == before.rotation.files()


def test_a_full_disk_is_waited_out(make: Make, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    savepoints = make(checkpoint_every="1000s")
    one_step(savepoints)

    def full(*_: object, **__: object) -> None:
        raise MobileOneError("No space left on device")

    monkeypatch.setattr(Rotation, "save", full)
    savepoints.try_to_save()
    assert lines == ["no checkpoint at step 1, the run goes on without: No space left on device"]
    assert not savepoints.is_saved
    assert savepoints.age_s == pytest.approx(1000 - RETRY_S, abs=30)  # tried again in a minute
    with pytest.raises(MobileOneError):
        savepoints.save()


def test_steps_make_it_due_once(make: Make) -> None:
    savepoints = make(checkpoint_every="2steps")
    due = []
    for steps in range(1, 5):
        savepoints.progress.now = EpochProgress(epoch=0, steps=steps)
        due.append(savepoints.is_due())
        if due[-1]:
            savepoints.save()
    assert due == [False, True, False, True]


def test_a_state_of_something_else_is_refused(make: Make) -> None:
    savepoints = make()
    savepoints.rotation.save({"trainer": {"network": {}}}, epoch=0, step=1)
    with pytest.raises(TrainingError, match=r"cannot resume from .*: not this run's state"):
        savepoints.restore()
