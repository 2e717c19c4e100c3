"""Nearest neighbours by cosine, exactly, through faiss: look-alikes, recall, near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileone.errors import DataError, MissingExtraError

Vectors = NDArray[np.float32]
MAX_PAIRS = 50  # near-duplicates of one image that are looked for


def unit(vectors: Vectors, *, center: Vectors | None = None) -> Vectors:
    """Of length 1, float32 (N, D), for cosines; a vector of zeros stays one.

    Args:
        vectors: (N, D).
        center: subtracted first, (D,): pooled features are all positive, and any two alike without it.
    """
    moved = vectors if center is None else vectors - center
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    result: Vectors = np.ascontiguousarray(moved / np.maximum(lengths, 1e-12), np.float32)
    return result


def nearest(vectors: Vectors, queries: Vectors, number: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Places of the nearest vectors of each query, nearest first, and their cosines, both (M, number).

    Compared with every one, so exact, and nothing is built; an approximate index is for many millions.

    Args:
        vectors: of length 1, (N, D).
        queries: of length 1, (M, D).
        number: of neighbours, at most N.

    Raises:
        DataError: if the queries are of another length.
        MissingExtraError: without faiss.
    """
    if queries.shape[1] != vectors.shape[1]:
        raise DataError(
            f"the vectors have {vectors.shape[1]} values, those of this model {queries.shape[1]}; embed "
            "again with this model"
        )
    index = _need_faiss().IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    cosines, places = index.search(queries, min(number, len(vectors)))
    return places, cosines


def recall_at_k(vectors: Vectors, labels: Sequence[str], ks: Sequence[int] = (1, 5, 10)) -> dict[int, float]:
    """Share of the images that have one of their class among their k nearest others, in [0, 1], by k.

    Images that are alone in their class are left out.

    Raises:
        DataError: if no class has two images.
        MissingExtraError: without faiss.
    """
    own = np.unique(np.asarray(labels), return_inverse=True)[1]
    several = np.flatnonzero(np.bincount(own)[own] > 1)
    if not len(several):
        raise DataError("no class has two images, so there is nothing to find again")
    points = unit(vectors)
    places, _ = nearest(points, points[several], max(ks) + 1)
    others = places != several[:, None]
    found = others & (own[places] == own[several][:, None])
    rank = np.cumsum(others, axis=1)
    return {k: float((found & (rank <= k)).any(1).mean()) for k in ks}


def near_duplicates(vectors: Vectors, least: float) -> list[tuple[int, int, float]]:
    """Pairs (first, second, cosine) alike by that cosine, of differences from the mean; the nearest first.

    Raises:
        MissingExtraError: without faiss.
    """
    points = unit(vectors, center=vectors.mean(0))
    places, cosines = nearest(points, points, min(MAX_PAIRS, len(points)))
    pairs = {
        (min(row, int(place)), max(row, int(place))): float(cosine)
        for row, (near, close) in enumerate(zip(places, cosines, strict=True))
        for place, cosine in zip(near, close, strict=True)
        if place != row and cosine >= least
    }
    return sorted(((a, b, cosine) for (a, b), cosine in pairs.items()), key=lambda pair: (-pair[2], pair[:2]))


def groups_of(pairs: Sequence[tuple[int, int, float]], number: int) -> NDArray[np.int64]:
    """A number for each of so many images, the same for those that pairs join, (number,).

    >>> groups_of([(0, 2, 1.0), (2, 3, 1.0)], 5).tolist()
    [0, 1, 0, 0, 4]
    """
    parents = list(range(number))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for a, b, _ in pairs:
        low, high = sorted((root(a), root(b)))
        parents[high] = low
    return np.array([root(place) for place in range(number)], np.int64)


def _need_faiss() -> Any:
    try:
        return import_module("faiss")
    except ImportError as error:
        raise MissingExtraError(
            "finding neighbours needs faiss, which is not installed; pip install 'mobileone[search]'"
        ) from error
