"""A folder to vectors: all images, their classes, and what is skipped."""

import numpy as np
import pytest

from mobileone.curation.embed import embed
from mobileone.data.folder import find_images
from mobileone.errors import BadImageError, ConfigError, DataError
from mobileone.inference.predictor import Predictor


def test_every_image_below_a_folder(colours, painted):
    found = embed(colours, painted, batch_size=5, progress=False)
    assert len(found) == 38
    assert found.vectors.shape == (38, 12)
    assert found.names[0] == "train/blue/02.png"
    assert found.labels[0] == "blue"
    assert (found.folder, found.model, found.probe.shape) == (str(painted), "colours", (12,))
    own = Predictor(colours).embed([painted / name for name in found.names])
    np.testing.assert_array_equal(found.vectors, own)


def test_images_without_folders_have_no_labels(colours, painted):
    assert embed(colours, painted / "train" / "red", progress=False).labels is None


def test_a_set_keeps_its_labels(colours, painted):
    source = find_images(painted, split="train")
    found = embed(colours, source, progress=False)
    assert found.labels == tuple(source.classes[label] for label in source.labels)
    assert found.names[0] == "train/blue/02.png"


def test_damaged_images_stop_it_or_are_left_out(colours, painted):
    (painted / "train" / "blue" / "50.png").write_bytes(b"none")
    with pytest.raises(BadImageError, match=r"50\.png"):
        embed(colours, painted, progress=False)
    told = []
    found = embed(colours, painted, on_bad_image="skip", on_skipped=told.append, progress=False)
    assert (len(found), len(told)) == (38, 1)
    assert "train/blue/50.png" not in found.names


def test_what_makes_no_sense(colours, painted, tmp_path):
    with pytest.raises(ConfigError, match="at least 1"):
        embed(colours, painted, batch_size=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images below"):
        embed(colours, tmp_path / "empty")
    (tmp_path / "empty" / "a.png").write_bytes(b"none")
    with pytest.raises(DataError, match="no image of 1 could be read"):
        embed(colours, tmp_path / "empty", on_bad_image="skip", progress=False)
