"""Validation images taken from a set that has none: a share or a fold, stratified, in groups, seeded."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mobileone.data.check import CHUNK, look_at_images
from mobileone.data.likeness import close_pairs, look_alike
from mobileone.data.pool import in_processes
from mobileone.data.source import ImageSource, Labels, label_counts
from mobileone.data.subset import whole_of
from mobileone.distribution import pip_install
from mobileone.errors import DataError, MissingExtraError
from mobileone.outside_text import printable

SplitBy = Literal["group", "looks"]
MAX_PARTS = 20
"""Parts that a share is made up of: 0.15 is 3 of 20. One below 1/20 is one of as many as it takes."""


class Sides(NamedTuple):
    """Which side every image is on.

    Attributes:
        is_val: bool (N,); the others are for training.
        notes: what is to be said about the split, a line each.
    """

    is_val: NDArray[np.bool_]
    notes: tuple[str, ...]


def hold_out_sides(
    source: ImageSource,
    *,
    share: float = 0.0,
    folds: int = 0,
    fold: int = 0,
    by: SplitBy = "group",
    seed: int = 0,
    num_workers: int | None = 0,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Sides:
    """Which images are held out for validation.

    Every class has about the same share on both sides; an image with several labels counts as its rarest.
    Images of one group are never divided; a class with too few images or groups for both sides is for
    training.

    Args:
        source: the whole set.
        share: of the images to hold out, in (0, 1), as nearly as the groups allow; or 0, and
        folds: into how many parts the set is divided, of which
        fold: one is held out, from 1 on.
        by: `"group"` is the column of a list, where it has one; `"looks"` besides keeps pictures together
            that are the same photo, by their bytes or nearly so (`mobileone check-data` says how), which
            decodes all of them.
        seed: of the split, which depends on nothing else but the images and their order.
        num_workers: processes that decode; None is one a core.
        on_images: told how many images were decoded, of how many.

    Raises:
        DataError: if there are too few images or groups.
        MissingExtraError: without scikit-learn.
    """
    groups = groups_of(source)
    if by == "looks":
        alike = _alike(source, num_workers, on_images)
        groups = _joined(np.stack([groups, alike]))
    strata = _strata(source.labels, len(source.classes))
    num_groups = len(np.unique(groups))
    most = min(int(np.bincount(strata).max()), num_groups)  # as many parts, so that none is empty
    parts, taken = (folds, 1) if folds else _parts(share, most)
    if num_groups < max(parts, 2):
        kind = "images" if num_groups == len(source) else "groups of images"
        raise DataError(
            f"{num_groups} {kind} cannot be divided into {max(parts, 2)} parts; give more, or ask for fewer"
        )
    part_of = _assigned(strata, groups, parts=parts, seed=seed)
    chosen = [fold - 1] if folds else _evenest(strata, part_of, parts=parts, taken=taken)
    is_val = np.isin(part_of, chosen)
    is_val, notes = _kept_for_training(source, groups, is_val)
    if not is_val.any() or is_val.all():
        raise DataError(
            f"of {len(source)} images in {num_groups} groups none is left for one side; give more images, or "
            "hold out another share"
        )
    said = f"{int(is_val.sum())} of {len(source)} images are held out"
    said += f", fold {fold} of {folds}" if folds else ""
    said += f", in {num_groups} groups" if num_groups < len(source) else ""
    return Sides(is_val, (f"{said} (seed {seed})", *notes))


def groups_of(source: ImageSource) -> NDArray[np.int64]:
    """A number a group, int64 (N,): of the list's column where there is one, else an image each."""
    whole, chosen = whole_of(source)
    names = getattr(whole, "groups", None)
    if names is None:
        return np.arange(len(chosen))
    numbers: NDArray[np.int64] = np.unique(np.array(names, dtype=object), return_inverse=True)[1][chosen]
    return numbers


def _alike(
    source: ImageSource, num_workers: int | None, on_images: Callable[[int, int], None]
) -> NDArray[np.int64]:
    """A number a photo: the same for images of the same bytes and for those that look the same."""
    facts = []
    chunks = [range(i, min(i + CHUNK, len(source))) for i in range(0, len(source), CHUNK)]
    for found in in_processes(partial(look_at_images, source), chunks, num_workers=num_workers):
        facts += found
        on_images(len(facts), len(source))
    readable = [index for index, each in enumerate(facts) if not each.reason]
    hashes = np.array([facts[index].looks for index in readable], dtype=np.uint64)
    same: dict[bytes, int] = {}
    pairs = [(same.setdefault(facts[index].content, index), index) for index in readable]
    for one, other in close_pairs(hashes, hashes):
        first, second = readable[one], readable[other]
        if first < second and look_alike(source, first, source, second):
            pairs.append((first, second))
    return _components(len(source), pairs)


def _joined(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups of what is together by any of several groupings, (several, N)."""
    pairs = []
    for grouping in groups:
        first: dict[int, int] = {}
        pairs += [(first.setdefault(group, index), index) for index, group in enumerate(grouping.tolist())]
    return _components(groups.shape[1], pairs)


def _components(number: int, pairs: list[tuple[int, int]]) -> NDArray[np.int64]:
    _require_scikit_learn()
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones, others = np.array(pairs, np.int64).reshape(-1, 2).T
    links = coo_array((np.ones(len(pairs), np.int8), (ones, others)), shape=(number, number))
    numbers: NDArray[np.int64] = connected_components(links, directed=False)[1].astype(np.int64)
    return numbers


def _strata(labels: Labels, num_classes: int) -> NDArray[np.int64]:
    """What is to be shared out alike: the class; of several labels the rarest; K for none."""
    if labels.ndim == 1:
        return labels.astype(np.int64)
    counts = label_counts(labels, num_classes)
    rarity = np.where(labels, counts, counts.max() + 1)
    return np.where(labels.any(1), rarity.argmin(1), num_classes)


def _parts(share: float, most: int) -> tuple[int, int]:
    """A share as a number of equal parts, at most so many, of which some are held out.

    >>> _parts(0.2, 100), _parts(0.15, 100), _parts(0.15, 7), _parts(0.01, 100)
    ((5, 1), (20, 3), (7, 1), (100, 1))
    """
    most = max(min(max(MAX_PARTS, round(1 / min(share, 1 - share))), most), 2)
    nearest = Fraction(share).limit_denominator(most)
    if nearest <= 0 or nearest >= 1:
        return most, 1 if nearest <= 0 else most - 1
    return nearest.denominator, nearest.numerator


def _evenest(strata: NDArray[np.int64], part_of: NDArray[np.int64], *, parts: int, taken: int) -> list[int]:
    """So many of the parts, those that leave out fewest classes, and then have most nearly each one's share.

    Of a class with fewer images than parts only some have one.
    """
    counts = np.zeros((parts, int(strata.max()) + 1))
    np.add.at(counts, (part_of, strata), 1)
    wanted = counts.sum(0) * taken / parts

    def misfit(chosen: list[int]) -> tuple[int, float]:
        held = counts[chosen].sum(0)
        return int(((held == 0) & (wanted > 0)).sum()), float(np.abs(held - wanted).sum())

    spread = [round(number * parts / taken) for number in range(taken)]
    return min(([(first + step) % parts for step in spread] for first in range(parts)), key=misfit)


def _assigned(
    strata: NDArray[np.int64], groups: NDArray[np.int64], *, parts: int, seed: int
) -> NDArray[np.int64]:
    """The part of every image, 0 … parts − 1, by scikit-learn."""
    _require_scikit_learn()
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    divided = len(np.unique(groups)) == len(groups)
    few = int(np.bincount(strata).max()) < parts  # no class can be in every part: nothing to stratify by
    kinds = (KFold, StratifiedKFold) if divided else (GroupKFold, StratifiedGroupKFold)
    splitter = kinds[not few](parts, shuffle=True, random_state=seed)
    part_of = np.zeros(len(strata), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer images than parts, which are looked after
        for number, (_, members) in enumerate(splitter.split(strata[:, None], strata, groups)):
            part_of[members] = number
    return part_of


def _kept_for_training(
    source: ImageSource, groups: NDArray[np.int64], is_val: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], list[str]]:
    """Bring back what a class would have no training image without; and say what is on one side alone."""
    labels, names = source.labels, tuple(source.classes)

    def counts(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        return label_counts(labels[chosen], len(names))

    is_val = is_val.copy()
    everywhere = counts(np.ones(len(is_val), bool))
    for label in np.flatnonzero((counts(~is_val) == 0) & (everywhere > 0)).tolist():
        has_it = labels == label if labels.ndim == 1 else labels[:, label]
        is_val[np.isin(groups, groups[np.flatnonzero(has_it)[:1]])] = False
    alone = np.flatnonzero((counts(is_val) == 0) & (everywhere > 0)).tolist()
    if not alone:
        return is_val, []
    shown = ", ".join(printable(names[label]) for label in alone[:3])
    more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
    return is_val, [f"too few images or groups to hold any out, so not measured: {shown}{more}"]


def _require_scikit_learn() -> None:
    try:
        import sklearn.model_selection  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "holding images out is scikit-learn's, which is not installed; " + pip_install("train")
        ) from None
