"""Logits by the index of their image."""

import pytest
import torch

from mobileone.errors import TrainingError
from mobileone.training.method.lessons import Lessons

CPU = torch.device("cpu")


def test_logits_are_those_of_the_indices() -> None:
    logits = torch.randn(5, 3)
    assert torch.equal(Lessons(logits)(torch.tensor([4, 0, 4]), device=CPU), logits[[4, 0, 4]])


def test_an_image_that_the_teacher_could_not_see_is_named() -> None:
    logits = torch.randn(5, 3)
    logits[3] = torch.nan
    lessons = Lessons(logits)
    lessons(torch.tensor([0, 2]), device=CPU)
    with pytest.raises(TrainingError, match="training image 3 could not be read when the teacher looked"):
        lessons(torch.tensor([0, 3]), device=CPU)
