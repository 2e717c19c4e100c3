"""How honest probabilities are: calibration error, Brier score, and the bins of a reliability diagram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobileone.calibration.scaling import mean_loss, truth
from mobileone.data.source import Labels
from mobileone.decision import Floats

NUM_BINS = 15  # as in arXiv 1706.04599


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """Confidence, the probability of the likeliest class, against how often it is right.

    Of several labels an image, every label's probability against how often the image has it.

    Attributes:
        counts: images, or images and labels, in each of 15 bins of confidence, equally wide, int64 (15,).
        confidence: their mean confidence, float64 (15,); 0 where there are none.
        accuracy: share of them that is right, float64 (15,); 0 where there are none.
        brier: Brier score, the squared distance of the probabilities from the truth, summed over the classes,
            mean over the images, in [0, 2].
        loss: mean negative log-likelihood, nats.
    """

    counts: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats
    brier: float
    loss: float

    @property
    def ece(self) -> float:
        """Expected calibration error in [0, 1]: the mean gap between confidence and accuracy."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((self.counts * gaps).sum() / max(self.counts.sum(), 1))


def measure_reliability(probabilities: Floats, labels: Labels) -> Reliability:
    """Of probabilities (N, K) of images with these labels, (N,) or bool (N, K).

    >>> measure_reliability(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])).ece
    0.30000000000000004
    """
    several = labels.ndim == 2
    confidence = probabilities.ravel() if several else probabilities.max(1)
    right = labels.ravel() if several else probabilities.argmax(1) == labels
    # A bin holds its upper end, as in the paper: 1.0 is in the last one.
    places = np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    counts = np.bincount(places, minlength=NUM_BINS)
    share = np.maximum(counts, 1)
    return Reliability(
        counts=counts,
        confidence=np.bincount(places, confidence, NUM_BINS) / share,
        accuracy=np.bincount(places, right, NUM_BINS) / share,
        brier=float(((probabilities - truth(labels, probabilities.shape[1])) ** 2).sum(1).mean()),
        loss=mean_loss(probabilities, labels),
    )
