"""What was taught, by the index of its image."""

import pytest
import torch

from mobileone.errors import TrainingError
from mobileone.training.method.lessons import Lessons
from mobileone.training.method.taught import Taught

CPU = torch.device("cpu")


def test_logits_and_features_are_those_of_the_indices() -> None:
    logits, features = torch.randn(5, 3), torch.randn(5, 7)
    taught = Lessons(Taught(logits, features))(torch.tensor([4, 0, 4]), device=CPU)
    assert torch.equal(taught.logits, logits[[4, 0, 4]])
    assert taught.features is not None
    assert torch.equal(taught.features, features[[4, 0, 4]])
    assert Lessons(Taught(logits))(torch.tensor([1]), device=CPU).features is None


def test_an_image_that_the_teacher_could_not_see_is_named() -> None:
    logits = torch.randn(5, 3)
    logits[3] = torch.nan
    lessons = Lessons(Taught(logits))
    lessons(torch.tensor([0, 2]), device=CPU)
    with pytest.raises(TrainingError, match="training image 3 could not be read when the teacher looked"):
        lessons(torch.tensor([0, 3]), device=CPU)
