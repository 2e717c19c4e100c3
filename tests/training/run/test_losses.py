"""Losses as they are read: counted, skipped, and too many of them."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mobileone.errors import TrainingError
from mobileone.ranks.distributed import Distributed
from mobileone.training.method.step import StepResult
from mobileone.training.run.losses import MOST_OVERFLOWS, READ_EVERY, Losses
from mobileone.training.run.progress import RunProgress

INDICES = torch.arange(4)


def result(loss: float, *, finite: bool = True, overflowed: bool = False) -> StepResult:
    return StepResult(torch.tensor(loss), torch.tensor(finite), torch.tensor(overflowed))


@pytest.fixture
def trainer() -> Any:
    return SimpleNamespace(
        dist=Distributed(),
        train_set=SimpleNamespace(name=lambda index: f"{index}.jpg"),
        steps_per_epoch=10,
        config=SimpleNamespace(max_skipped_steps=1),
        step=SimpleNamespace(amp="fp16"),
    )


def test_what_was_taken_counts_and_what_was_not_is_named(trainer: Any) -> None:
    progress, lines = RunProgress(steps_per_epoch=10, step_images=4), list[str]()
    losses = Losses(trainer, progress, log=lines.append)
    for each in (result(2.0), result(float("inf"), finite=False), result(1.0)):
        losses.add(INDICES, each)
    assert progress.now.steps == 0  # nothing was waited for
    losses.read()
    assert (progress.now.steps, progress.now.losses, progress.num_skipped) == (3, [2.0, 1.0], 1)
    assert lines == [
        "skipped a step: the loss became inf in epoch 1, step 2 of 10; its images: 0.jpg 1.jpg 2.jpg 3.jpg"
    ]


def test_one_too_many_ends_the_run_with_the_first_few_images(trainer: Any) -> None:
    progress = RunProgress(steps_per_epoch=10, step_images=4, num_skipped=1)
    losses = Losses(trainer, progress, log=lambda line: None)
    losses.add(INDICES, result(3.0, finite=False))
    message = (
        r"a gradient was not finite \(the loss was 3\) in epoch 1, step 1 of 10; .* number 2; "
        r"max_skipped_steps is 1; its images: 0\.jpg 1\.jpg 2\.jpg … \(all 4 .*"
        r"; try a lower base_lr .*amp=bf16"
    )
    with pytest.raises(TrainingError, match=message):
        losses.read()


def test_a_gpu_is_waited_for_every_few_steps_and_at_the_end(trainer: Any) -> None:
    progress = RunProgress(steps_per_epoch=10, step_images=4)
    assert Losses(trainer, progress, log=print).read_every == 1
    trainer.dist = SimpleNamespace(device=torch.device("cuda"))
    losses = Losses(trainer, progress, log=print)
    due = []
    for _ in range(READ_EVERY):
        losses.add(INDICES, result(1.0))
        due.append(losses.are_due(is_last=False))
    assert due == [False] * (READ_EVERY - 1) + [True]
    losses.read()
    losses.add(INDICES, result(1.0))
    assert losses.are_due(is_last=True)


def test_an_fp16_overflow_that_never_ends_is_an_error(trainer: Any) -> None:
    """The gradient scaler lowers its scale after each; a few are how it finds it."""
    progress, lines = RunProgress(steps_per_epoch=100, step_images=4), list[str]()
    losses = Losses(trainer, progress, log=lines.append)
    for _ in range(3):
        for each in (*[result(2.0, overflowed=True)] * MOST_OVERFLOWS, result(1.0)):
            losses.add(INDICES, each)
    losses.read()
    assert progress.num_skipped == 0
    for _ in range(MOST_OVERFLOWS + 1):
        losses.add(INDICES, result(2.0, overflowed=True))
    with pytest.raises(
        TrainingError, match=r"overflowed in 31 steps in a row, up to .*; use amp=bf16 or off"
    ):
        losses.read()
