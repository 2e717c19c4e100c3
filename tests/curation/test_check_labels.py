"""Images in the wrong folder are found, twice-told ones too, and right ones left alone."""

import shutil
import sys

import numpy as np
import pytest
from tests.curation.conftest import COLOURS

from mobileone.curation.check_labels import check_labels
from mobileone.data.digits import load_digits
from mobileone.errors import ConfigError, DataError, MissingExtraError

for library in ("cleanlab", "faiss", "sklearn"):
    pytest.importorskip(library, reason=f"needs {library}")


@pytest.mark.parametrize("probabilities", ["cross-validated", "model"])
def test_wrong_labels_and_twins_are_found(colours, painted, probabilities):
    report = check_labels(colours, painted, probabilities=probabilities, alike=0.999, folds=4, progress=False)
    found = {(each.image, each.reason): each for each in report.suspects}
    assert {name for name, reason in found if reason == "label"} == {"train/red/04.png", "train/blue/09.png"}
    moved = found["train/red/04.png", "label"]
    assert (moved.label, moved.suggested) == ("red", "green")
    assert moved.quality < 0.5
    assert found["train/blue/99.png", "duplicate"].other == "train/blue/05.png"
    assert found["train/green/98.png", "contradiction"].other == "train/blue/08.png"
    assert {name for name, reason in found if reason == "contradiction"} == {
        "train/green/98.png",
        "train/blue/08.png",
    }
    assert len(report.suspects) == 5
    assert report.accuracy == pytest.approx(35 / 38)
    assert len({index for index, _ in report.odd}) == 24


def test_flipped_labels_of_real_scans_are_mostly_found():
    digits = load_digits("val")
    random = np.random.default_rng(0)
    flipped = random.choice(360, 18, replace=False)
    labels = digits.labels.copy()
    labels[flipped] = (labels[flipped] + random.integers(1, 10, 18)) % 10
    source = type(digits)(split="val", images=digits.images, labels=labels)
    report = check_labels(Scans(), source, alike=0.9999, progress=False)
    told = {each.index for each in report.suspects if each.reason == "label"}
    assert len(told & set(flipped.tolist())) >= 15
    assert len(told - set(flipped.tolist())) <= 18


class Scans:
    """Features of a scan are its 64 pixels."""

    from mobileone.input_spec import InputSpec

    input_spec, num_classes, class_names = InputSpec(size=8, crop=1.0), 10, tuple("0123456789")
    device = None

    def logits(self, pixels):
        raise AssertionError

    def embeddings(self, pixels):
        return pixels[:, 0].flatten(1).float() / 16


def test_damaged_images_are_left_out_and_the_numbers_still_fit(colours, painted):
    (painted / "train" / "blue" / "00.png").write_bytes(b"none")
    report = check_labels(colours, painted, alike=0.999, on_bad_image="skip", progress=False)
    assert len(report.source) == 38
    assert all(report.source.name(each.index).endswith(each.image) for each in report.suspects)


def test_few_images_make_few_folds_and_one_makes_none(colours, painted):
    for path in sorted((painted / "train" / "green").iterdir())[3:]:
        path.unlink()
    notes = check_labels(colours, painted, alike=0.9999, progress=False).notes
    assert "3 folds, as green has only 3 images that are no near-duplicates" in notes
    for path in sorted((painted / "train" / "green").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match=r"1 classes have a single image, or .*, the first is green"):
        check_labels(colours, painted, progress=False)
    for name in ("green", "red"):
        shutil.rmtree(painted / "train" / name)
    with pytest.raises(DataError, match="all images are of one class"):
        check_labels(colours, painted, progress=False)


@pytest.fixture
def pictures(paint, tmp_path):
    """`pictures(red=(1, 1, 2), ...)`: a folder with the pictures of these seeds, alike ones of the same."""

    def make(**classes):
        for name, seeds in classes.items():
            for number, seed in enumerate(seeds):
                path = tmp_path / "copies" / "train" / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                paint(list(COLOURS)[seed % 3], seed).save(path)
        return tmp_path / "copies"

    return make


def test_near_duplicates_count_once_and_make_fewer_folds(colours, pictures):
    """scikit-learn's error about empty folds, or one class, was the end."""
    data = pictures(blue=(0, 0, 0, 0, 0, 1, 1, 1), green=(3, 3, 3, 3, 4, 4, 4), red=(6, 7, 8, 9, 10))
    report = check_labels(colours, data, alike=0.9999, progress=False)
    assert report.notes == ("2 folds, as blue has only 2 images that are no near-duplicates",)
    shutil.rmtree(data / "train" / "red")
    (data / "train" / "green" / "6.png").unlink()
    check_labels(colours, data, alike=0.9999, progress=False)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ({"blue": range(14), "green": (20,) * 5}, "or near-duplicates of one, the first is green"),
        ({"blue": (0, 1), "green": (0, 2)}, "a single class is left to learn from"),
    ],
)
def test_near_duplicates_that_leave_nothing_to_judge_by(colours, pictures, classes, told):
    with pytest.raises(DataError, match=told):
        check_labels(colours, pictures(**classes), alike=0.9999, progress=False)


def test_what_makes_no_sense(colours, painted, monkeypatch):
    with pytest.raises(ConfigError, match="folds must be at least 2"):
        check_labels(colours, painted, folds=1)
    with pytest.raises(ConfigError, match=r"alike in \(0, 1\], got 5 and 2"):
        check_labels(colours, painted, alike=2)
    colours.class_names = ("a", "b", "c")
    with pytest.raises(DataError, match="classes"):
        check_labels(colours, painted, probabilities="model", progress=False)
    colours.task = "multilabel"
    with pytest.raises(ConfigError, match="one class an image"):
        check_labels(colours, painted)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(MissingExtraError, match=r"needs cleanlab.*mobileone\[labels\]"):
        check_labels(colours, painted)
