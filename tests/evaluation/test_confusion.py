"""What is taken for what, by hand."""

import numpy as np
import pytest

from mobileone.evaluation.confusion import Pair, class_results, confused_pairs, confusion_matrix

LABELS = np.array([0, 0, 0, 0, 1, 1, 3])
SEEN = np.array([0, 1, 1, 3, 1, 1, 0])
MATRIX = np.array([[1, 2, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])


def test_the_matrix_counts_every_image_once() -> None:
    assert np.array_equal(confusion_matrix(LABELS, SEEN, 4), MATRIX)
    assert confusion_matrix(LABELS[:0], SEEN[:0], 2).tolist() == [[0, 0], [0, 0]]


def test_classes_come_worst_first_and_those_without_images_not_at_all() -> None:
    results = class_results(MATRIX)
    assert [result.label for result in results] == [3, 0, 1]
    worst, middle, best = results
    assert (worst.recall, worst.precision, worst.mistaken_for, worst.num_mistaken) == (0.0, 0.0, 0, 1)
    assert (middle.recall, middle.mistaken_for, middle.num_mistaken) == (25.0, 1, 2)
    assert (best.recall, best.mistaken_for) == (100.0, None)
    assert (best.precision, middle.precision) == (pytest.approx(50.0), pytest.approx(50.0))
    never = class_results(np.array([[0, 2], [0, 1]]))[0]
    assert never.precision is None


def test_pairs_come_commonest_first() -> None:
    assert confused_pairs(MATRIX, limit=9) == [Pair(0, 1, 2, 4), Pair(3, 0, 1, 1), Pair(0, 3, 1, 4)]
    assert confused_pairs(MATRIX, limit=1) == [Pair(0, 1, 2, 4)]
    assert confused_pairs(np.eye(3, dtype=np.int64), limit=5) == []
