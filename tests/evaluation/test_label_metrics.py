"""Figures of several labels an image."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mobileone.decision import Decision
from mobileone.errors import MissingExtraError
from mobileone.evaluation.label_metrics import label_loss, metrics_of_labels

pytest.importorskip("sklearn.metrics", reason="needs scikit-learn, in the extra train")


def test_every_label_is_ranked_and_counted_on_its_own():
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], bool)
    logits = np.array([[3.0, -2, 1], [2, 4, -1], [1, 3, -1], [-1, -3, -1]], np.float32)
    found = metrics_of_labels(labels, logits, ["a", "b", "never"])
    # a: images 0, 1, 2 given; ranked 0, 1, 2, of which the first and third have it: (1/1 + 2/3) / 2
    assert found["ap/a"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert found["f1/a"] == pytest.approx(100 * 2 * 2 / (2 + 3))
    assert (found["ap/b"], found["f1/b"]) == (100.0, 100.0)
    assert "ap/never" not in found
    assert found["map"] == pytest.approx((found["ap/a"] + 100) / 2)
    assert found["macro_f1"] == pytest.approx((found["f1/a"] + 100) / 2)
    assert found["micro_f1"] == pytest.approx(100 * 2 * 4 / (4 + 6))
    assert found["subset_acc"] == 50.0  # images 2 and 3


def test_a_label_that_nobody_has_or_one_label_alone_is_no_fault():
    assert metrics_of_labels(np.zeros((2, 2), bool), np.zeros((2, 2), np.float32), "ab")["map"] == 0.0
    found = metrics_of_labels(np.array([[True], [False]]), np.array([[1], [-1]], np.float32), ["a"])
    assert (found["map"], found["micro_f1"], found["subset_acc"]) == (100.0, 100.0, 100.0)


def test_the_loss_is_torch_s():
    random = np.random.default_rng(0)
    labels, logits = random.random((7, 3)) < 0.4, random.normal(0, 30, (7, 3)).astype(np.float32)
    wanted = F.binary_cross_entropy_with_logits(
        torch.from_numpy(logits).double(), torch.from_numpy(labels).double(), reduction="sum"
    )
    assert label_loss(labels, logits) == pytest.approx(wanted.item() / 7)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(MissingExtraError, match=r"scikit-learn.*pip install 'mobileone\[train\]'"):
        metrics_of_labels(np.zeros((1, 1), bool), np.zeros((1, 1), np.float32), "a")


def test_a_calibrated_network_gives_labels_from_its_own_thresholds_on():
    random = np.random.default_rng(0)
    logits = random.normal(size=(50, 3)).astype(np.float32)
    labels = random.random((50, 3)) < 0.4
    decision = Decision(temperatures=(2.0, 0.5, 1.0), biases=(0.0, 1.0, 0.0), thresholds=(0.3, 0.6, 0.9))
    found = metrics_of_labels(labels, logits, "abc", decision=decision)
    plain = metrics_of_labels(labels, logits, "abc")
    assert [found[f"ap/{name}"] for name in "abc"] == [plain[f"ap/{name}"] for name in "abc"]
    given = 1 / (1 + np.exp(-(logits / [2, 0.5, 1] + [0, 1, 0]))) >= [0.3, 0.6, 0.9]
    assert found["subset_acc"] == pytest.approx(100 * (given == labels).all(1).mean())
    wanted = F.binary_cross_entropy_with_logits(
        torch.from_numpy(decision.calibrated(logits)), torch.from_numpy(labels).double(), reduction="sum"
    )
    assert label_loss(labels, logits, decision=decision) == pytest.approx(wanted.item() / 50)
