"""How far a run is, through a resume file and back, and what was waited for."""

from typing import Any

import pytest

from mobileone.evaluation.metrics import EvalResult
from mobileone.training.run.progress import EpochProgress, RunProgress
from mobileone.training.watch.records import EpochRecord


def record(epoch: int, acc1: float | None) -> EpochRecord:
    values: dict[str, Any] = dict.fromkeys(EpochRecord.__dataclass_fields__, 1.0)
    return EpochRecord(**values | {"epoch": epoch, "metrics": {} if acc1 is None else {"acc1": acc1}})


def test_an_epoch_counts_its_position_in_images() -> None:
    epoch = EpochProgress(epoch=1, steps=6, losses=[1.0, 3.0], seconds=2.0, waiting=0.5)
    state = epoch.state_dict(step_images=8)
    assert state["images"] == 48
    assert EpochProgress.from_state_dict(state, step_images=16).steps == 3
    assert EpochProgress.from_state_dict(state, step_images=8) == epoch
    with pytest.raises(ValueError, match="48 images are no whole number of steps of 9"):
        EpochProgress.from_state_dict(state, step_images=9)
    assert epoch.mean_loss == 2.0
    assert EpochProgress(epoch=0).mean_loss != EpochProgress(epoch=0).mean_loss  # NaN


def test_a_run_goes_through_a_state_and_knows_its_best_epoch() -> None:
    run = RunProgress(steps_per_epoch=10, step_images=8)
    assert (run.step, run.best()) == (0, None)
    run.records += [record(1, None), record(2, 70.0), record(3, 70.0), record(4, 60.0)]
    run.now = EpochProgress(epoch=4, steps=3)
    run.last = EvalResult(num_images=8, metrics={"acc1": 60.0, "acc5": 90.0}, loss=0.5, skipped=("b.jpg",))
    run.skipped.add("a.jpg")
    best = run.best()
    assert best is not None
    assert (best.epoch, run.step) == (2, 43)
    other = RunProgress(steps_per_epoch=10, step_images=8)
    other.load_state_dict(run.state_dict())
    assert other == run
