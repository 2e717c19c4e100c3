"""The built-in digits."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits as load_scans

from mobileone.data.digits import load_digits
from mobileone.errors import MissingExtraError


def test_both_splits_together_are_the_scans():
    train, val = load_digits("train"), load_digits("val")
    assert (len(train), len(val)) == (1437, 360)
    assert train.images.shape == (1437, 8, 8, 3)
    assert train.images.dtype == np.uint8
    assert train.classes == tuple("0123456789")
    scans, digits = load_scans(return_X_y=True)
    ours = np.concatenate([train.images, val.images])[..., 0].reshape(-1, 64)
    labels = np.concatenate([train.labels, val.labels])

    def as_set(pixels, classes):
        return sorted((bytes(row), int(label)) for row, label in zip(pixels, classes, strict=True))

    assert as_set(ours, labels) == as_set(np.rint(scans * 255 / 16).astype(np.uint8), digits)


def test_values_and_channels():
    images = load_digits("val").images
    assert int(images.min()) == 0
    assert int(images.max()) == 255
    assert set(np.unique(images).tolist()) <= {round(value * 255 / 16) for value in range(17)}
    assert (images[..., 0] == images[..., 1]).all()
    assert (images[..., 0] == images[..., 2]).all()


def test_the_split_is_stratified_and_fixed():
    val = load_digits("val")
    assert np.bincount(val.labels).min() >= 34
    assert np.bincount(val.labels).max() <= 38
    assert val.labels[:20].tolist() == load_digits("val").labels[:20].tolist()
    # Pinned: a changed split would make every published accuracy on it another number.
    assert int((np.arange(360) * val.labels).sum()) == 291_504
    assert int(val.images[..., 0].sum(dtype=np.int64)) == 1_790_973


def test_reading_one():
    val = load_digits("val")
    image = val.read(5)
    assert image.name == val.name(5) == "digits/val/5"
    assert (image.height, image.width) == (8, 8)
    assert (image.decode() == val.images[5]).all()


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"mobileone\[train\]"):
        load_digits("train")
