"""How logits become an answer: the rule that Python, C and the browser share."""

import json

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.special import softmax as scipy_softmax

from mobileone.decision import Decision, familiarity
from mobileone.errors import ConfigError

LOGITS = np.array([[4.0, 0.0, -1.0], [0.0, 1.0, 0.5], [90.0, 100.0, 0.0]])


def test_probabilities_are_the_softmax_of_divided_and_shifted_logits():
    decision = Decision(temperatures=(2.0, 1.0, 0.5), biases=(0.0, 0.25, -1.0))
    expected = scipy_softmax(LOGITS / [2, 1, 0.5] + [0, 0.25, -1], axis=1)
    np.testing.assert_allclose(decision.probabilities(LOGITS), expected, rtol=1e-14)
    assert decision.probabilities(LOGITS.astype(np.float32)).dtype == np.float64


def test_an_answer_is_sure_from_its_class_threshold_on():
    likely = float(Decision().probabilities(LOGITS)[1].max())
    assert Decision(thresholds=(likely,)).sure(LOGITS).tolist() == [True, True, True]
    above = float(np.nextafter(likely, 1))
    assert Decision(thresholds=(above,)).sure(LOGITS).tolist() == [True, False, True]
    assert Decision(thresholds=(above, 0.0, above)).sure(LOGITS).all()  # the threshold of the likeliest class
    assert Decision(thresholds=(1.0,)).doubts(LOGITS) == ["unlikely"] * 3


@pytest.mark.parametrize(
    ("score", "expected"), [("energy", logsumexp(LOGITS, axis=1)), ("max_logit", LOGITS.max(1))]
)
def test_novelty_is_told_by_the_raw_logits(score, expected):
    np.testing.assert_allclose(familiarity(LOGITS, score), expected, rtol=1e-14)
    limit = float(expected[0])
    decision = Decision(temperatures=(7.0,), novelty=score, novelty_limit=limit)
    assert decision.doubts(LOGITS) == [None, "novel", None]


def test_it_survives_json():
    decision = Decision(
        temperatures=(1.5, 2.0),
        thresholds=(0.5, 0.25),
        novelty="energy",
        novelty_limit=-3.5,
        evidence={"data": "photos", "num_images": 341, "ece": 0.02},
    )
    assert Decision.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision
    assert Decision.from_dict({}) == Decision()


def test_no_image_is_no_doubt():
    assert Decision(novelty="energy", novelty_limit=0.0).doubts(np.empty((0, 3))) == []


@pytest.mark.parametrize(
    "change",
    [
        {"temperatures": [0.0]},
        {"temperatures": []},
        {"temperatures": 1.0},
        {"temperatures": [float("nan")]},
        {"temperatures": [True]},
        {"temperatures": [10**400]},
        {"biases": ["0"]},
        {"thresholds": [1.5]},
        {"thresholds": [-0.1, 0.5]},
        {"novelty": "entropy", "novelty_limit": 0.0},
        {"novelty": "energy"},
        {"novelty_limit": 1.0},
        {"novelty": "energy", "novelty_limit": float("inf")},
        {"novelty": "energy", "novelty_limit": 10**400},
        {"evidence": {"a": 10**400}},
        {"evidence": {"a": None}},
        {"evidence": {"a": "x" * 5000}},
        {"evidence": {str(i): i for i in range(65)}},
        {"evidence": []},
        {"surprise": 1},
    ],
)
def test_anything_else_is_refused(change):
    with pytest.raises(ConfigError):
        Decision.from_dict(change)
    with pytest.raises(ConfigError, match="must be an object"):
        Decision.from_dict([])


def test_it_must_fit_the_network():
    Decision(temperatures=(1.0, 2.0)).check(2)
    with pytest.raises(ConfigError, match="2 temperatures does not fit 3 classes"):
        Decision(temperatures=(1.0, 2.0)).check(3)
