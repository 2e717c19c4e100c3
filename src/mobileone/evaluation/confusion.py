"""What is taken for what: pure functions of labels and predictions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


class ClassResult(NamedTuple):
    """How one class fared.

    Attributes:
        label: its index.
        num_images: images of it.
        num_right: of those, the ones that were seen as it.
        num_predicted: images of any class that were seen as it.
        mistaken_for: the class it was most often seen as instead, or None.
        num_mistaken: how often.
    """

    label: int
    num_images: int
    num_right: int
    num_predicted: int
    mistaken_for: int | None
    num_mistaken: int

    @property
    def recall(self) -> float:
        """Share of its images that were seen as it, top-1 of this class, percent."""
        return 100 * self.num_right / self.num_images

    @property
    def precision(self) -> float | None:
        """Share of right ones among the images seen as it, percent; None if there were none."""
        return 100 * self.num_right / self.num_predicted if self.num_predicted else None

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, percent; 0 where nothing is right."""
        return 200 * self.num_right / (self.num_images + self.num_predicted)


class Pair(NamedTuple):
    """Images of `label` that were seen as `predicted`: how many, and how many images `label` has."""

    label: int
    predicted: int
    times: int
    num_images: int


def confusion_matrix(labels: Counts, predictions: Counts, num_classes: int) -> Counts:
    """Images by label and prediction.

    Args:
        labels: (N,), in 0 … num_classes − 1.
        predictions: likewise.
        num_classes: K.

    Returns:
        int64 (K, K); row i, column j counts the images of class i that were seen as j.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    cells = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def class_results(matrix: Counts) -> list[ClassResult]:
    """Every class that has images, the worst first; ties by index."""
    results = []
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    for label, total in enumerate(matrix.sum(1).tolist()):
        if total:
            worst = int(wrong[label].argmax())
            count = int(wrong[label, worst])
            results.append(
                ClassResult(
                    label=label,
                    num_images=total,
                    num_right=int(matrix[label, label]),
                    num_predicted=int(matrix[:, label].sum()),
                    mistaken_for=worst if count else None,
                    num_mistaken=count,
                )
            )
    return sorted(results, key=lambda result: result.recall)


def confused_pairs(matrix: Counts, *, limit: int) -> list[Pair]:
    """The commonest mistakes, most images first; ties by the larger share of the class, then by index.

    >>> confused_pairs(np.array([[5, 2, 0], [1, 5, 0], [0, 3, 1]]), limit=2)
    [Pair(label=2, predicted=1, times=3, num_images=4), Pair(label=0, predicted=1, times=2, num_images=7)]
    """
    totals = matrix.sum(1)
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    pairs = [Pair(int(i), int(j), int(wrong[i, j]), int(totals[i])) for i, j in np.argwhere(wrong > 0)]
    return sorted(pairs, key=lambda pair: (-pair.times, -pair.times / pair.num_images, pair[:2]))[:limit]
