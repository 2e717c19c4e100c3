"""What a run says in words."""

from typing import Any

import pytest
import torch

from mobileone.data.folder import find_images
from mobileone.evaluation.metrics import EvalResult
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.log_lines import bar_line, epoch_line, seconds_to_go, start_line
from mobileone.training.run.progress import EpochProgress, RunProgress
from mobileone.training.run.trainer import Trainer
from mobileone.training.watch.records import EpochRecord, StepReport


@pytest.fixture
def trainer(config: TrainConfig) -> Trainer:
    return Trainer(config, find_images(config.data, split="train"), Distributed())


def record(epoch: int, **changes: Any) -> EpochRecord:
    values: dict[str, Any] = dict.fromkeys(EpochRecord.__dataclass_fields__, 0.5)
    return EpochRecord(**values | {"epoch": epoch, "images_per_second": 16.0, "metrics": {}} | changes)


def test_the_start_says_what_is_trained_and_where_it_goes_on(trainer: Trainer) -> None:
    progress = RunProgress(steps_per_epoch=3, step_images=8)
    line = start_line(trainer, progress, num_val=8, started_with=1)
    assert line.startswith("tiny on ")
    for part in ("24 training and 8 validation images, 2 classes; 2 epochs of 3 steps", "1 × 8 images each"):
        assert part in line
    progress.now = EpochProgress(epoch=1, steps=2)
    line = start_line(trainer, progress, num_val=8, started_with=2)
    assert line.startswith("resumed in epoch 2 after step 2: tiny on ")
    assert "8 images each as with the 2 ranks at the start, now on 1" in line


def test_an_epoch_s_line_says_what_is_left_and_whether_it_is_the_best(trainer: Trainer) -> None:
    progress = RunProgress(steps_per_epoch=3, step_images=8, now=EpochProgress(epoch=1))
    progress.records = [record(1, metrics={"acc1": 75.0, "acc5": 90.0})]
    line = epoch_line(progress.records[0], trainer, progress)
    assert line.startswith("epoch 1/2  train loss 0.5000  val loss 0.5000  acc@1 75.00")
    assert line.endswith("2 s left  best")  # 3 steps of half a second
    progress.records.append(record(2, val_loss=None))
    progress.now = EpochProgress(epoch=2)
    line = epoch_line(progress.records[1], trainer, progress)
    assert "acc@1" not in line
    assert not line.endswith(("left", "best"))


def test_the_bar_shows_accuracy_once_there_is_one(config: TrainConfig) -> None:
    report = StepReport(
        step=1,
        epoch=1,
        loss=2.5,
        lr=0.1,
        weight_decay=0.0,
        images_per_second=7.0,
        data_wait=0.25,
        seconds_left=90.0,
    )
    cpu = torch.device("cpu")
    assert "acc@1" not in bar_line(report, None, cpu)
    line = bar_line(report, EvalResult(num_images=1, metrics={"acc1": 50.0, "acc5": 100.0}, loss=1.0), cpu)
    assert line.startswith("loss 2.500, acc@1 50.00, lr 0.1000, 7 images/s, data 25%, ")
    assert line.endswith("2 min left")


def test_evaluations_to_come_take_what_the_last_one_took(config: TrainConfig) -> None:
    progress = RunProgress(steps_per_epoch=3, step_images=8)
    assert seconds_to_go(config, progress, step_seconds=1.0, size=32) == 6
    progress.last = EvalResult(num_images=1, metrics={"acc1": 0.0}, loss=0.0, seconds=100.0)
    assert seconds_to_go(config, progress, step_seconds=1.0, size=32) == 206
