"""Telling images like none that the network knows, by its logits, and how well that works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from mobileone.calibration.scaling import need
from mobileone.decision import Floats, NoveltyScore, familiarity


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoveltyFigures:
    """How well a score parts known images from novel ones.

    Attributes:
        score: `energy` or `max_logit`.
        auroc: chance that a known image has more of it than a novel one, in [0, 1].
        fpr95: share of the novel images that pass where 95 % of the known ones do, in [0, 1].
        known: the scores of the known images.
        novel: those of the novel ones.
    """

    score: NoveltyScore
    auroc: float
    fpr95: float
    known: Floats
    novel: Floats


def measure_novelty(known: NDArray[Any], novel: NDArray[Any]) -> tuple[NoveltyFigures, ...]:
    """Every score's figures, from logits (N, K) of known images and (M, K) of novel ones.

    Raises:
        MissingExtraError: without scikit-learn.
    """
    metrics = need("sklearn.metrics", what="calibrating with novel images")
    truth = np.repeat([1, 0], [len(known), len(novel)])
    figures = []
    for score in get_args(NoveltyScore):
        parts = familiarity(known, score), familiarity(novel, score)
        values = np.concatenate(parts)
        false, true, _ = metrics.roc_curve(truth, values)
        figures.append(
            NoveltyFigures(
                score=score,
                auroc=float(metrics.roc_auc_score(truth, values)),
                fpr95=float(false[np.flatnonzero(true >= 0.95)[0]]),
                known=parts[0],
                novel=parts[1],
            )
        )
    return tuple(figures)


def limit_for(scores: Floats, keep: float) -> float:
    """A limit that this share of the scores reaches, rounded up, half way to the next score below.

    >>> limit_for(np.arange(100.0), 0.95)
    4.5
    """
    ranked = np.sort(scores)
    place = int(np.floor((1 - keep) * len(ranked) + 1e-9))
    return float(ranked[max(place - 1, 0)] + ranked[place]) / 2
