"""Thresholds meet their target with as many sure answers as can be, or say what can be met."""

import numpy as np
import pytest

from mobileone.calibration.thresholds import (
    LEAST_ACCEPTED,
    Outcomes,
    Target,
    choose_thresholds,
    coverage_curve,
    label_curve,
    label_thresholds,
)
from mobileone.decision import Decision, softmax
from mobileone.errors import ConfigError, DataError

CLASSES = tuple("abcd")


@pytest.fixture
def outcomes(bold):
    logits, labels = bold
    return Outcomes.of(softmax(logits / 3.0), labels)


def accepted(outcomes, thresholds):
    limits = np.broadcast_to(thresholds, len(CLASSES))[outcomes.predictions]
    return (outcomes.confidence >= limits) & ~outcomes.refused


def test_a_precision_is_met_by_the_lowest_threshold(outcomes):
    (threshold,) = choose_thresholds(outcomes, Target(aim="precision", value=0.95), CLASSES)
    sure = accepted(outcomes, threshold)
    assert outcomes.right[sure].mean() >= 0.95
    lower = sorted(set(outcomes.confidence[~sure]))[-200:]
    assert all(outcomes.right[outcomes.confidence >= value].mean() < 0.95 for value in lower)
    curve = coverage_curve(outcomes)
    best = curve.coverage[curve.accuracy >= 0.95].max()
    assert sure.mean() == best


def test_the_decision_accepts_the_same(bold):
    logits, labels = bold
    outcomes = Outcomes.of(softmax(logits / 3.0), labels)
    target = Target(aim="precision", value=0.9, per_class=True)
    thresholds = choose_thresholds(outcomes, target, CLASSES)
    decision = Decision(temperatures=(3.0,), thresholds=thresholds)
    np.testing.assert_array_equal(decision.sure(logits), accepted(outcomes, thresholds))


def test_each_class_meets_its_precision(outcomes):
    thresholds = choose_thresholds(outcomes, Target(aim="precision", value=0.9, per_class=True), CLASSES)
    sure = accepted(outcomes, thresholds)
    for index in range(4):
        own = sure & (outcomes.predictions == index)
        assert own.sum() >= LEAST_ACCEPTED
        assert outcomes.right[own].mean() >= 0.9


@pytest.mark.parametrize("per_class", [False, True])
def test_a_recall_is_met_by_the_highest_threshold(outcomes, per_class):
    target = Target(aim="recall", value=0.5, per_class=per_class)
    thresholds = choose_thresholds(outcomes, target, CLASSES)
    right = accepted(outcomes, thresholds) & outcomes.right
    shares = [right[outcomes.labels == index].mean() for index in range(4)] if per_class else [right.mean()]
    assert all(0.5 <= share < 0.51 for share in shares)


def test_a_cost_is_the_least_there_is(outcomes):
    (threshold,) = choose_thresholds(outcomes, Target(aim="cost", value=4), CLASSES)

    def cost(limit):
        sure = outcomes.confidence >= limit
        return 4 * (sure & ~outcomes.right).sum() + (~sure).sum()

    assert cost(threshold) == min(cost(limit) for limit in [0, *outcomes.confidence, 1.1])
    assert threshold == pytest.approx(1 - 1 / 4, abs=0.06)  # Chow's rule, as these probabilities are honest


def test_what_was_refused_already_counts_as_not_sure(outcomes):
    refused = np.arange(len(outcomes.labels)) % 2 == 0
    half = Outcomes(
        confidence=outcomes.confidence,
        predictions=outcomes.predictions,
        labels=outcomes.labels,
        refused=refused,
    )
    assert coverage_curve(half).coverage[-1] == 0.5
    with pytest.raises(
        DataError, match=r"recall 0\.5 cannot be met on these 2000 images: 0\.\d+ is reached when"
    ):
        choose_thresholds(half, Target(aim="recall", value=0.5), CLASSES)


def test_what_cannot_be_met_says_what_can(outcomes):
    wrong = Outcomes(
        confidence=outcomes.confidence,
        predictions=outcomes.predictions,
        labels=(outcomes.predictions + (np.arange(2000) % 10 < 5)) % 4,
        refused=outcomes.refused,
    )
    with pytest.raises(
        DataError, match=r"precision 0\.99 cannot be met .*: 0\.\d+ is reached from 0\.\d+ on, with"
    ):
        choose_thresholds(wrong, Target(aim="precision", value=0.99), CLASSES)
    with pytest.raises(
        DataError, match=r"each class, cannot be met for 4 of 4 classes \(a: 0\.\d+ is reached"
    ):
        choose_thresholds(wrong, Target(aim="precision", value=0.99, per_class=True), CLASSES)


def test_a_precision_of_a_few_answers_is_none():
    few = Outcomes(
        confidence=np.linspace(0.5, 1, 9),
        predictions=np.zeros(9, int),
        labels=np.zeros(9, int),
        refused=np.zeros(9, bool),
    )
    with pytest.raises(DataError, match="9 answers, too few to tell a precision from"):
        choose_thresholds(few, Target(aim="precision", value=0.5), CLASSES)


def test_where_all_are_right_none_is_refused():
    every = Outcomes.of(np.eye(4)[np.arange(40) % 4] * 0.6 + 0.1, np.arange(40) % 4)
    for target in (
        Target(aim="precision", value=1.0),
        Target(aim="recall", value=1),
        Target(aim="cost", value=9),
    ):
        assert choose_thresholds(every, target, CLASSES) == (0.0,)


@pytest.mark.parametrize(
    ("aim", "value"),
    [("precision", 0), ("precision", 1.1), ("recall", -1), ("cost", 1), ("cost", float("inf"))],
)
def test_targets_out_of_range(aim, value):
    with pytest.raises(ConfigError, match="must"):
        Target(aim=aim, value=value)


def test_labels_cost_what_is_missed_and_what_is_too_many():
    random = np.random.default_rng(3)
    probabilities = random.random((800, 3))
    labels = random.random((800, 3)) < probabilities
    thresholds = label_thresholds(probabilities, labels, Target(aim="cost", value=3), tuple("abc"))

    def cost(limit):
        given = probabilities >= limit
        return 3 * (given & ~labels).sum() + (~given & labels).sum()

    assert cost(thresholds[0]) == min(cost(limit) for limit in [*probabilities.ravel(), 0, 1.1])
    assert thresholds[0] == pytest.approx(3 / 4, abs=0.05)
    recall = label_thresholds(
        probabilities, labels, Target(aim="recall", value=0.8, per_class=True), tuple("abc")
    )
    for column, limit in enumerate(recall):
        assert (probabilities[labels[:, column], column] >= limit).mean() == pytest.approx(0.8, abs=0.005)
    curve = label_curve(probabilities, labels)
    assert (curve.coverage[-1], curve.accuracy[-1]) == (1, pytest.approx(labels.mean()))
    with pytest.raises(
        DataError, match=r"precision 0\.9, each class, cannot be met on these 800 images: a: 0\.\d+"
    ):
        label_thresholds(
            probabilities,
            random.random((800, 3)) < 0.3,
            Target(aim="precision", value=0.9, per_class=True),
            tuple("abc"),
        )
