"""Pictures of labels are drawn, and say what was given wrongly and what was missed."""

import numpy as np
import PIL.Image
import pytest

from mobileone.data.image_list import list_images
from mobileone.evaluation import label_pictures
from mobileone.evaluation.label_answers import LabelAnswers

pytest.importorskip("matplotlib", reason="pictures need matplotlib, in the extra train")
pytest.importorskip("sklearn", reason="figures of several labels need scikit-learn, in the extra train")


@pytest.fixture
def source(label_list):
    return list_images(label_list, split="val")


def answers_of(source, logits):
    return LabelAnswers(
        classes=source.classes, indices=np.arange(len(source)), labels=source.labels, logits=logits
    )


def test_a_tile_says_what_was_wrong(source, tmp_path, monkeypatch):
    logits = np.where(source.labels, 1, -1).astype(np.float32)
    assert label_pictures.draw_label_mistakes(answers_of(source, logits), source, tmp_path / "none.png") == 0
    logits[1] *= -5
    drawn = []
    monkeypatch.setattr(label_pictures, "draw_tiles", lambda tiles, path: drawn.extend(tiles))
    assert label_pictures.draw_label_mistakes(answers_of(source, logits), source, tmp_path / "two.png") == 2
    assert {title for _, title in drawn} == {"is not bright\n99 %", "missed red\n1 %"}


def test_the_worst_labels_are_a_png(source, tmp_path):
    logits = np.random.default_rng(0).normal(size=source.labels.shape).astype(np.float32)
    label_pictures.draw_worst_labels(answers_of(source, logits), tmp_path / "worst.png")
    with PIL.Image.open(tmp_path / "worst.png") as picture:
        assert picture.format == "PNG"
