"""Figures of novelty against what they are by definition."""

import numpy as np
import pytest

from mobileone.calibration.novelty import limit_for, measure_novelty

pytest.importorskip("sklearn", reason="needs scikit-learn")


def test_figures_are_shares_of_pairs_and_of_novel_images():
    random = np.random.default_rng(0)
    known = random.normal(size=(400, 5)) + 8 * np.eye(5)[random.integers(0, 5, 400)]
    novel = random.normal(size=(300, 5)) * 2
    for figures in measure_novelty(known, novel):
        pairs = (figures.known[:, None] > figures.novel).mean()
        assert figures.auroc == pytest.approx(pairs)
        limit = np.sort(figures.known)[20]  # 380 of 400 reach it
        assert figures.fpr95 == pytest.approx((figures.novel >= limit).mean(), abs=1 / 300)
    assert [figures.score for figures in measure_novelty(known, novel)] == ["energy", "max_logit"]


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.95, 0.999])
def test_the_limit_keeps_the_share(keep):
    scores = np.random.default_rng(1).normal(size=341)
    assert keep <= (scores >= limit_for(scores, keep)).mean() < keep + 1 / 340
