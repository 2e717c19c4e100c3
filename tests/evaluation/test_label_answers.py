"""What a network answers for several labels an image, image by image."""

import numpy as np
import pytest

from mobileone.data.image_list import list_images
from mobileone.errors import DataError
from mobileone.evaluation.evaluate import evaluate
from mobileone.evaluation.label_answers import LabelAnswers, answer_labels
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model

pytest.importorskip("sklearn", reason="figures of several labels need scikit-learn, in the extra train")


@pytest.fixture
def labelled(tiny):
    return create_model(
        tiny, num_classes=2, input_spec=InputSpec(size=32), class_names=("bright", "red"), task="multilabel"
    ).eval()


def test_they_are_the_evaluation_s(labelled, label_list):
    source = list_images(label_list, split="train")
    answers = answer_labels(labelled, source, batch_size=5, progress=False)
    result = evaluate(labelled, source, batch_size=7, progress=False)
    assert answers.figures == pytest.approx(dict(result.metrics))
    assert np.array_equal(answers.labels, source.labels)
    assert [each.num_images for each in sorted(answers.results())] == [12, 12]


def test_a_network_of_one_class_an_image_is_refused_for_such_data(tiny, label_list):
    single = create_model(
        tiny, num_classes=2, input_spec=InputSpec(size=32), class_names=("bright", "red")
    ).eval()
    with pytest.raises(DataError, match="must have one, unless task=multilabel"):
        evaluate(single, label_list, progress=False)
    with pytest.raises(DataError, match="several labels an image, so it needs task=multilabel"):
        evaluate(single, list_images(label_list, split="val"), progress=False)


def test_mistakes_come_surest_first_whether_given_or_missed():
    answers = LabelAnswers(
        classes=("a", "b"),
        indices=np.arange(2),
        labels=np.array([[True, False], [False, True]]),
        logits=np.array([[-1.0, -2.0], [0.0, -3.0]], np.float32),
    )
    found = answers.mistakes()
    assert [(each.entry, each.label, each.was_given) for each in found] == [
        (1, 1, False),
        (0, 0, False),
        (1, 0, True),
    ]
    assert found[2].probability == 0.5
    worst = answers.results()[0]
    assert (worst.label, worst.recall, worst.precision, worst.f1) == (0, 0.0, 0.0, 0.0)
