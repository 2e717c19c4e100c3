"""From which probability on an answer is sure: for a wanted precision, recall or cost of a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mobileone.decision import Floats
from mobileone.errors import ConfigError, DataError

Aim = Literal["precision", "recall", "cost"]
Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]

LEAST_ACCEPTED = 10
"""Sure answers that a precision is told from; fewer say nothing."""
MAX_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What thresholds are for.

    Attributes:
        aim: `precision`, the share of the sure answers that is right; `recall`, the share of all images (with
            a threshold a class: of the class's) whose answer is sure and right; or `cost`.
        value: the least precision or recall, in (0, 1]; or the cost of a wrong answer, a refusal's being 1.
        per_class: a threshold for each class, which alone reaches the target, instead of one for all.

    Raises:
        ConfigError: on a value out of its range.
    """

    aim: Aim
    value: float
    per_class: bool = False

    def __post_init__(self) -> None:
        if self.aim == "cost":
            if not 1 < self.value < float("inf"):
                raise ConfigError(
                    f"a wrong answer must cost more than a refusal, which costs 1, got {self.value:g}"
                )
        elif not 0 < self.value <= 1:
            raise ConfigError(f"a {self.aim} to reach must be in (0, 1], got {self.value:g}")

    def __str__(self) -> str:
        what = f"cost of a mistake {self.value:g}" if self.aim == "cost" else f"{self.aim} {self.value:g}"
        return f"{what}, each class" if self.per_class else what


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """What was answered: one entry an image.

    Attributes:
        confidence: probability of the likeliest class, (N,).
        predictions: that class, (N,).
        labels: the right one, (N,).
        refused: answers that are not sure whatever the threshold, bool (N,).
    """

    confidence: Floats
    predictions: Indices
    labels: Indices
    refused: Mask

    @classmethod
    def of(cls, probabilities: Floats, labels: Indices, refused: Mask | None = None) -> Outcomes:
        """Of probabilities (N, K); nothing is refused by default."""
        none = np.zeros(len(labels), bool)
        return cls(
            confidence=probabilities.max(1),
            predictions=probabilities.argmax(1),
            labels=labels,
            refused=none if refused is None else refused,
        )

    @property
    def right(self) -> Mask:
        """Whether the likeliest class is the label."""
        right: Mask = self.predictions == self.labels
        return right


@dataclass(frozen=True, slots=True, eq=False)
class CoverageCurve:
    """What every threshold for all classes would give, from the strictest to none.

    Attributes:
        thresholds: (M,), falling.
        coverage: share of the images with a sure answer, (M,), rising; of several labels an image, the share
            of the labels that is given.
        accuracy: share of these answers, or of the labels given, that is right, (M,).
    """

    thresholds: Floats
    coverage: Floats
    accuracy: Floats


def coverage_curve(outcomes: Outcomes) -> CoverageCurve:
    """A point for every confidence that occurs, each threshold half way to the next below."""
    thresholds, accepted, right = _cumulated(outcomes, ~outcomes.refused)
    return CoverageCurve(thresholds, accepted / max(len(outcomes.labels), 1), right / np.maximum(accepted, 1))


def label_curve(probabilities: Floats, labels: Mask) -> CoverageCurve:
    """The same of several labels an image, from probabilities (N, K) and whether an image has each (N, K)."""
    outcomes = _label_outcomes(probabilities, labels)
    thresholds, given, right = _cumulated(outcomes, ~outcomes.refused)
    return CoverageCurve(thresholds, right / max(int(labels.sum()), 1), right / np.maximum(given, 1))


def choose_thresholds(outcomes: Outcomes, target: Target, classes: Sequence[str]) -> tuple[float, ...]:
    """One threshold, or one a class, of the most sure answers that the target allows.

    Raises:
        DataError: if the target cannot be met on these images; it says what can.
    """
    usable = ~outcomes.refused
    if not target.per_class:
        threshold, best = _choose(outcomes, usable, np.ones(len(usable), bool), target)
        if threshold is None:
            raise DataError(f"{target} cannot be met on these {len(usable)} images: {best}")
        return (threshold,)
    thresholds, failures = [], []
    for index, name in enumerate(classes):
        threshold, best = _choose(
            outcomes, usable & (outcomes.predictions == index), outcomes.labels == index, target
        )
        thresholds.append(1.0 if threshold is None else threshold)
        if threshold is None:
            failures.append(f"{name}: {best}")
    if failures:
        more = f"; and {len(failures) - MAX_NAMED} classes more" if len(failures) > MAX_NAMED else ""
        raise DataError(
            f"{target}, cannot be met for {len(failures)} of {len(classes)} classes ("
            f"{'; '.join(failures[:MAX_NAMED])}{more}); ask for less, give more images, or take one "
            "threshold for all classes"
        )
    return tuple(thresholds)


def label_thresholds(
    probabilities: Floats, labels: Mask, target: Target, classes: Sequence[str]
) -> tuple[float, ...]:
    """From which probability on a label is given, of several an image: one for all labels, or one a label.

    A precision is the share of the labels given that is right, a recall the share of the images' labels that
    is given. A label too many costs what a mistake costs, one that is missed costs 1.

    Args:
        probabilities: (N, K).
        labels: whether an image has each, (N, K).
        target: what to reach.
        classes: K names.

    Raises:
        DataError: if the target cannot be met on these images; it says what can.
    """
    columns = [[index] for index in range(len(classes))] if target.per_class else [list(range(len(classes)))]
    thresholds, failures = [], []
    for column in columns:
        own = _label_outcomes(probabilities[:, column], labels[:, column])
        threshold, best = _choose(own, ~own.refused, own.labels == 1, target, of_labels=True)
        thresholds.append(1.0 if threshold is None else threshold)
        if threshold is None:
            failures.append(f"{classes[column[0]]}: {best}" if target.per_class else best)
    if failures:
        more = f"; and {len(failures) - MAX_NAMED} more" if len(failures) > MAX_NAMED else ""
        raise DataError(
            f"{target}, cannot be met on these {len(labels)} images: {'; '.join(failures[:MAX_NAMED])}{more}"
        )
    return tuple(thresholds)


def _label_outcomes(probabilities: Floats, labels: Mask) -> Outcomes:
    """Every label of every image as an answer of its own, right where the image has it."""
    return Outcomes(
        confidence=probabilities.ravel(),
        predictions=np.ones(probabilities.size, np.int64),
        labels=labels.ravel().astype(np.int64),
        refused=np.zeros(probabilities.size, bool),
    )


def _choose(
    outcomes: Outcomes, considered: Mask, positives: Mask, target: Target, *, of_labels: bool = False
) -> tuple[float | None, str]:
    """The threshold for some answers; where there is none, what can be reached, in words.

    Args:
        outcomes: of all images.
        considered: answers that the threshold is for.
        positives: images that a recall is a share of.
        target: what to reach.
        of_labels: whether what is not accepted costs something only where it is right.
    """
    thresholds, accepted, right = _cumulated(outcomes, considered)
    if target.aim == "cost":
        all_refused = int((positives if of_labels else considered).sum())
        cost = target.value * (accepted - right) + all_refused - (right if of_labels else accepted)
        if not len(cost) or cost.min() >= all_refused:
            return 1.0, ""
        cheapest = np.flatnonzero(cost == cost.min())
        return float(thresholds[cheapest[-1]]), ""
    if target.aim == "recall":
        recall = right / max(positives.sum(), 1)
        meets = np.flatnonzero(recall >= target.value)
        if not len(meets):
            return None, f"{recall.max(initial=0):.3f} is reached when no answer is refused"
        return float(thresholds[meets[0]]), ""
    told = accepted >= LEAST_ACCEPTED
    if not told.any():
        return (
            None,
            f"{int(considered.sum())} answers, too few to tell a precision from (least {LEAST_ACCEPTED})",
        )
    precision = np.where(told, right / np.maximum(accepted, 1), 0.0)
    meets = np.flatnonzero(precision >= target.value)
    if not len(meets):
        best = int(precision.argmax())
        return None, (
            f"{precision[best]:.3f} is reached from {thresholds[best]:.3f} on, with "
            f"{int(accepted[best])} sure answers"
        )
    return float(thresholds[meets[-1]]), ""


def _cumulated(outcomes: Outcomes, considered: Mask) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Thresholds, falling, with how many answers each accepts, and how many of these are right."""
    confidence, right = outcomes.confidence[considered], outcomes.right[considered]
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.empty(0, int)
    # Half way to the next answer below, as other runtimes round otherwise; 0 where there is none.
    below = np.append(ranked, 0.0)[ends + 1] if len(ranked) else ranked
    thresholds = np.where(ends + 1 < len(ranked), (ranked[ends] + below) / 2, 0.0)
    return thresholds, ends + 1, np.cumsum(right[order])[ends]
