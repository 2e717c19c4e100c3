"""Figures from counts are scikit-learn's from labels and predictions."""

import numpy as np
import pytest

from mobileone.evaluation.class_metrics import metrics_of_counts

metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn, in the extra train")


@pytest.mark.parametrize("seed", range(5))
def test_they_are_those_of_scikit_learn(seed):
    random, classes = np.random.default_rng(seed), 6
    labels, predictions = random.integers(0, 5, 80), random.integers(0, classes, 80)  # class 5 has no image
    counts = [
        np.bincount(chosen, minlength=classes)
        for chosen in (labels, labels[labels == predictions], predictions)
    ]
    right = (labels == predictions).sum()
    found = metrics_of_counts(
        np.concatenate([[80, right, 80, 1.0, 0, 0], *counts]).astype(float), list("abcdef")
    )
    there = np.unique(labels)
    wanted = {
        "acc1": metrics.accuracy_score(labels, predictions),
        "macro_f1": metrics.f1_score(labels, predictions, labels=there, average="macro"),
        "balanced_acc": metrics.recall_score(labels, predictions, labels=there, average="macro"),
    }
    recalls = metrics.recall_score(labels, predictions, labels=there, average=None)
    wanted |= {f"recall/{'abcdef'[k]}": recall for k, recall in zip(there, recalls, strict=True)}
    assert found == pytest.approx({name: 100 * value for name, value in wanted.items()} | {"acc5": 100.0})
