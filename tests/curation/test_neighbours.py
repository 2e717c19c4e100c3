"""Neighbours against scikit-learn's, recall and duplicates by hand."""

import numpy as np
import pytest

from mobileone.curation.neighbours import groups_of, near_duplicates, nearest, recall_at_k, unit
from mobileone.errors import DataError

pytest.importorskip("faiss", reason="needs faiss")


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)


def test_they_are_the_nearest_by_cosine(vectors):
    neighbors = pytest.importorskip("sklearn.neighbors", reason="needs scikit-learn")
    wanted = neighbors.NearestNeighbors(n_neighbors=7, metric="cosine").fit(vectors)
    distances, places = wanted.kneighbors(vectors[:20] + 1)
    got, cosines = nearest(unit(vectors), unit(vectors[:20] + 1), 7)
    np.testing.assert_array_equal(got, places)
    np.testing.assert_allclose(1 - cosines, distances, atol=1e-5)
    with pytest.raises(DataError, match="have 16 values, those of this model 8; embed again"):
        nearest(unit(vectors), unit(vectors[:2, :8]), 3)


def test_recall_is_how_often_one_of_the_class_is_near(vectors):
    labels = [str(number % 9) for number in range(199)] + ["alone"]
    points = unit(vectors)
    cosines = points @ points.T
    np.fill_diagonal(cosines, -2)
    order = np.argsort(-cosines, axis=1)
    for k, share in recall_at_k(vectors, labels, (1, 3, 20)).items():
        hits = [any(labels[j] == labels[i] for j in order[i, :k]) for i in range(199)]
        assert share == pytest.approx(np.mean(hits))
    with pytest.raises(DataError, match="no class has two images"):
        recall_at_k(vectors[:2], ["a", "b"])


def test_near_duplicates_are_found_once(vectors):
    again = np.concatenate([vectors, vectors[[3, 8]] + 1e-3, vectors[[3]]])
    pairs = near_duplicates(again + 5, 0.99)
    assert sorted(pair[:2] for pair in pairs) == [(3, 200), (3, 202), (8, 201), (200, 202)]
    assert [pair[2] for pair in pairs] == sorted((pair[2] for pair in pairs), reverse=True)
    assert groups_of(pairs, 203)[[3, 200, 202, 8, 201, 9]].tolist() == [3, 3, 3, 8, 8, 9]


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_what_a_search_reaches(seed):
    random = np.random.default_rng(seed)
    pairs = [(int(a), int(b), 1.0) for a, b in random.integers(0, 60, (45, 2))]
    beside = [{b for a, b, _ in pairs if a == n} | {a for a, b, _ in pairs if b == n} for n in range(60)]
    wanted = list(range(60))
    for first in range(60):
        reached, todo = set(), [first]
        while todo:
            place = todo.pop()
            todo += beside[place] - reached
            reached.add(place)
        wanted[first] = min(reached, default=first)
    assert groups_of(pairs, 60).tolist() == wanted
