"""Taking a step's buffers back."""

import torch
from torch import nn

from mobileone.training.method.rollback import Rollback


def test_buffers_are_taken_back_without_asking_the_device() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(2).double())
    rollback = Rollback(model.buffers())
    wanted = [buffer.clone() for buffer in model.buffers()]
    for bad in (True, False):
        rollback.remember()
        for buffer in model.buffers():
            buffer.fill_(float("nan") if buffer.is_floating_point() else 7)
        changed = [buffer.clone() for buffer in model.buffers()]
        rollback._select(torch.tensor(bad))  # what a GPU does
        expected = wanted if bad else changed
        for got, value in zip(model.buffers(), expected, strict=True):
            assert torch.equal(got.nan_to_num(-1), value.nan_to_num(-1))


def test_on_a_cpu_it_asks_and_copies() -> None:
    norm = nn.BatchNorm1d(2)
    rollback = Rollback(norm.buffers())
    rollback.remember()
    norm.running_mean.fill_(5.0)
    rollback.where(torch.tensor(False))
    assert norm.running_mean.tolist() == [5.0, 5.0]
    rollback.where(torch.tensor(True))
    assert norm.running_mean.tolist() == [0.0, 0.0]
