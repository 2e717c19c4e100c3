"""Images are held out in shares and folds: by class, by group, by looks, and never on both sides."""

import shutil
import sys

import numpy as np
import pytest

from mobileone.data.folder import find_images
from mobileone.data.image_list import list_images
from mobileone.data.splitting import hold_out_sides
from mobileone.data.subset import Subset
from mobileone.errors import DataError, MissingExtraError

pytest.importorskip("sklearn", reason="holding out needs scikit-learn, in the extra train")


class Made:
    """A set of given labels, perhaps in groups."""

    def __init__(self, labels, groups=None, names="abcdefgh"):
        self.labels = np.asarray(labels)
        self.classes = tuple(names[: self.labels.shape[1] if self.labels.ndim == 2 else max(labels) + 1])
        self.groups = None if groups is None else tuple(groups)

    def __len__(self):
        return len(self.labels)


LABELS = np.repeat([0, 1, 2], [60, 30, 10])


def held(labels, is_val):
    return np.bincount(labels[is_val]).tolist()


@pytest.mark.parametrize(("share", "wanted"), [(0.2, [12, 6, 2]), (0.5, [30, 15, 5]), (0.15, [9, 5, 1])])
def test_a_share_is_that_of_every_class(share, wanted):
    sides = hold_out_sides(Made(LABELS), share=share)
    assert np.abs(np.array(held(LABELS, sides.is_val)) - wanted).max() <= 1
    assert sides.notes == (f"{int(sides.is_val.sum())} of 100 images are held out (seed 0)",)


@pytest.mark.parametrize("share", [0.01, 0.03, 0.98])
def test_a_small_share_is_no_twentieth(share):
    sides = hold_out_sides(Made(np.arange(2000) % 2), share=share)
    assert sides.is_val.mean() == pytest.approx(share, abs=0.001)


@pytest.mark.parametrize("number", [7, 12, 19])
def test_a_share_is_a_little_off_where_groups_are_few(number):
    """It was refused: 20 parts, of 12 groups."""
    groups = [f"person {index % number}" for index in range(400)]
    sides = hold_out_sides(Made(np.arange(400) // 200, groups), share=0.15)
    assert 0.05 < sides.is_val.mean() < 0.25


def test_folds_are_a_division_and_follow_the_seed():
    folds = [hold_out_sides(Made(LABELS), folds=5, fold=fold).is_val for fold in range(1, 6)]
    assert np.array_equal(np.sum(folds, axis=0), np.ones(100))
    assert all(held(LABELS, is_val) == [12, 6, 2] for is_val in folds)
    assert np.array_equal(folds[0], hold_out_sides(Made(LABELS), folds=5, fold=1).is_val)
    assert not np.array_equal(folds[0], hold_out_sides(Made(LABELS), folds=5, fold=1, seed=1).is_val)


def test_a_group_is_never_divided():
    groups = [f"person {index // 4}" for index in range(100)]
    for fold in (1, 2, 3):
        sides = hold_out_sides(Made(LABELS, groups), folds=3, fold=fold)
        of_group = sides.is_val.reshape(25, 4)
        assert (of_group.all(1) == of_group.any(1)).all()
        assert "in 25 groups" in sides.notes[0]
        assert held(LABELS, sides.is_val)[0] in range(14, 27)
    part = Subset(Made(LABELS, groups), np.arange(0, 100, 2))
    of_group = hold_out_sides(part, share=0.4).is_val[:48].reshape(24, 2)
    assert (of_group.all(1) == of_group.any(1)).all()


def test_several_labels_are_shared_out_by_the_rarest():
    labels = np.zeros((100, 3), bool)
    labels[:, 0], labels[::3, 1], labels[::10, 2] = True, True, True
    labels[99] = False
    sides = hold_out_sides(Made(labels), folds=5, fold=2)
    assert labels[sides.is_val].sum(0)[2] == 2
    assert labels[sides.is_val].sum(0)[1] in (6, 7, 8)


def test_a_class_of_one_image_or_group_is_for_training_and_that_is_said():
    labels = np.array([0] * 20 + [1] + [2] * 4)
    groups = [*map(str, range(21)), *"xxxx"]
    for fold in range(1, 6):
        sides = hold_out_sides(Made(labels, groups), folds=5, fold=fold)
        assert not sides.is_val[20:].any()
        assert sides.notes[1] == "too few images or groups to hold any out, so not measured: b, c"


def test_the_same_photo_is_kept_together_by_its_looks(tmp_path, picture):
    for name, numbers in (("a", range(8)), ("b", range(8, 16))):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in numbers:
            photo = picture(number, 60, 80)
            photo.save(tmp_path / "set" / name / f"{number:02}.jpg", quality=95)
            photo.resize((60, 45)).save(tmp_path / "set" / name / f"{number:02}s.jpg", quality=80)
    shutil.copy(tmp_path / "set" / "a" / "00.jpg", tmp_path / "set" / "a" / "copy.jpg")
    source = find_images(tmp_path / "set", split=None)
    looked = []
    apart = hold_out_sides(source, share=0.25).is_val
    sides = hold_out_sides(source, share=0.25, by="looks", on_images=lambda *seen: looked.append(seen))
    photos = [source.files[index].replace("copy", "00").split("/")[1][:2] for index in range(len(source))]

    def divided(is_val):
        return {
            p for p in photos if len({bool(v) for v, q in zip(is_val, photos, strict=True) if q == p}) > 1
        }

    assert divided(apart)
    assert divided(sides.is_val) == set()
    assert looked[-1] == (33, 33)
    assert "in 16 groups" in sides.notes[0]


def test_a_list_has_its_groups(label_list):
    text = label_list.read_text().replace(",split", "").replace(",train", "").replace(",val", "")
    label_list.write_text(text)
    source = list_images(label_list, split=None)
    is_val = hold_out_sides(source, share=0.25).is_val.reshape(16, 2)
    assert (is_val[:, 0] == is_val[:, 1]).all()
    assert is_val.any()


@pytest.mark.parametrize(
    ("labels", "groups", "options", "wanted"),
    [
        ([0, 1, 0], None, {"folds": 4, "fold": 1}, "3 images cannot be divided into 4 parts"),
        ([0, 1, 0, 1], "xxxx", {"share": 0.5}, "1 groups of images cannot be divided into 2 parts"),
        ([0, 1], None, {"share": 0.5}, "none is left for one side"),
    ],
)
def test_too_few_images_are_refused(labels, groups, options, wanted):
    with pytest.raises(DataError, match=wanted):
        hold_out_sides(Made(labels, groups), **options)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mobileone\[train\]'"):
        hold_out_sides(Made(LABELS), share=0.2)
