"""Calibration error by hand, Brier score and loss by scikit-learn."""

import numpy as np
import pytest

from mobileone.calibration.reliability import NUM_BINS, measure_reliability
from mobileone.decision import softmax

metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")


def test_brier_score_and_loss_are_scikit_learns(bold):
    logits, labels = bold
    probabilities = softmax(logits.astype(float))
    figures = measure_reliability(probabilities, labels)
    assert figures.brier == pytest.approx(
        metrics.brier_score_loss(labels, probabilities, scale_by_half=False)
    )
    assert figures.loss == pytest.approx(metrics.log_loss(labels, probabilities))


def test_the_calibration_error_is_the_mean_gap_of_the_bins(bold):
    logits, labels = bold
    probabilities = softmax(logits.astype(float))
    figures = measure_reliability(probabilities, labels)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    total = 0.0
    for low in np.arange(NUM_BINS) / NUM_BINS:
        inside = (confidence > low) & (confidence <= low + 1 / NUM_BINS)
        if inside.any():
            total += abs(confidence[inside].mean() - right[inside].mean()) * inside.sum()
    assert figures.ece == pytest.approx(total / len(labels), abs=2e-3)
    assert figures.counts.sum() == len(labels)
    assert figures.ece > 0.1 > measure_reliability(softmax(logits / 3.0), labels).ece * 3


def test_certainty_is_in_the_last_bin():
    figures = measure_reliability(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    assert (figures.counts[-1], figures.ece, figures.brier) == (2, 0.5, 1.0)
    assert np.isfinite(figures.loss)
