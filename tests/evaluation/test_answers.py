"""Answers image by image agree with the evaluation, and with the logits."""

import numpy as np
import pytest
import torch

from mobileone.data.digits import load_digits
from mobileone.data.pixels import normalize, to_tensor
from mobileone.errors import DataError
from mobileone.evaluation.answers import Answers, answer
from mobileone.evaluation.evaluate import evaluate
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.variants import Variant

TINY = Variant("tiny", (8, 8, 16, 16), num_conv_branches=2, depths=(1, 1, 1, 1))


def test_they_are_the_evaluations_and_the_logits() -> None:
    model = create_model(TINY, num_classes=10, input_spec=InputSpec(size=32)).eval()
    source = load_digits("val")
    answers = answer(model, source, batch_size=100, progress=False)
    result = evaluate(model, source, progress=False)
    assert (len(answers), answers.acc1) == (360, pytest.approx(result.acc1))
    assert answers.acc5 == pytest.approx(result.acc5)
    assert np.array_equal(answers.indices, np.arange(360))
    assert np.array_equal(answers.labels, source.labels)
    transform = EvalTransform.from_spec(model.input_spec)
    pixels = torch.stack([to_tensor(transform(source.read(index))) for index in range(5)])
    best = model(normalize(pixels, model.input_spec)).softmax(1).max(1)
    assert answers.predictions[:5].tolist() == best.indices.tolist()
    assert answers.probabilities[:5].tolist() == pytest.approx(best.values.tolist(), rel=1e-3)
    assert answers.confusion().sum() == 360
    with pytest.raises(DataError, match="9 outputs"):
        answer(create_model(TINY, num_classes=9), source, progress=False)


def test_mistakes_come_surest_first() -> None:
    answers = Answers(
        classes=("a", "b"),
        indices=np.arange(4),
        labels=np.array([0, 0, 1, 1]),
        predictions=np.array([1, 0, 0, 0]),
        probabilities=np.array([0.6, 0.9, 0.8, 0.7], dtype=np.float32),
        in_top5=np.ones(4, dtype=bool),
    )
    assert answers.mistakes() == [2, 3, 0]
    assert (answers.acc1, answers.acc5) == (25.0, 100.0)
