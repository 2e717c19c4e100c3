"""Figures of networks of one class an image, from counts. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mobileone.evaluation.metric_names import class_metric

NUM_SUMS = 6
"""Images, right at 1, right at 5, summed loss, sure, sure and right; then come the counts of the classes."""


def metrics_of_counts(sums: NDArray[np.float64], classes: Sequence[str]) -> dict[str, float]:
    """Top-1, top-5, macro F1, balanced accuracy and the recall of every class, percent.

    Classes without images have no recall, and are in no mean: balanced accuracy is the mean recall, macro F1
    the mean of 2·right / (images + predictions).

    Args:
        sums: (6 + 3·K,): images, right at 1, right at 5, summed loss, answers that are sure, and right of
            these; then, a class each, images, right ones among them, and images of any class that were seen
            as it.
        classes: K names.

    >>> counts = np.array([4.0, 2, 4, 0.5, 0, 0, 3, 1, 0, 1, 1, 0, 1, 3, 0])
    >>> figures = metrics_of_counts(counts, ["a", "b", "c"])
    >>> {name: round(value, 1) for name, value in figures.items()}
    {'acc1': 50.0, 'acc5': 100.0, 'macro_f1': 50.0, 'balanced_acc': 66.7, 'recall/a': 33.3, 'recall/b': 100.0}
    """
    images, right, predicted = sums[NUM_SUMS:].reshape(3, len(classes))
    there = images > 0
    recall = right[there] / images[there]
    f1 = 2 * right[there] / (images[there] + predicted[there])
    figures = {
        "acc1": sums[1] / sums[0],
        "acc5": sums[2] / sums[0],
        "macro_f1": f1.mean(),
        "balanced_acc": recall.mean(),
    }
    names = [name for name, is_there in zip(classes, there, strict=True) if is_there]
    figures |= {class_metric("recall", name): value for name, value in zip(names, recall, strict=True)}
    return {name: 100 * float(value) for name, value in figures.items()}
