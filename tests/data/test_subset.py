"""A part of a set is a set, and a list leaves out what it names."""

import pickle
import shutil

import numpy as np
import pytest

from mobileone.data.digits import load_digits
from mobileone.data.fingerprint import Fingerprint
from mobileone.data.folder import find_images
from mobileone.data.image_list import list_images
from mobileone.data.split_record import write_sides
from mobileone.data.subset import Subset, image_name, leave_out, read_exclusions
from mobileone.errors import ConfigError, DataError


@pytest.fixture
def images(flat_folder):
    return find_images(flat_folder, split=None)


def test_a_part_has_the_labels_names_and_images_of_the_whole(images):
    part = pickle.loads(pickle.dumps(Subset(images, np.array([7, 0, 12]))))
    assert (len(part), part.classes) == (3, images.classes)
    assert part.labels.tolist() == images.labels[[7, 0, 12]].tolist()
    assert [part.name(i) for i in range(3)] == [images.name(i) for i in (7, 0, 12)]
    np.testing.assert_array_equal(part.read(2).decode(), images.read(12).decode())
    nested = Subset(part, np.array([2]))
    assert nested.files == [image_name(nested, 0)] == [images.files[12]]
    assert Fingerprint.of(nested).counts == {"class0": 0, "class1": 0, "class2": 1}


@pytest.mark.parametrize("kind", ["csv", "lines", "whole paths"])
def test_a_list_leaves_out_what_it_names(images, tmp_path, kind):
    names = [images.files[0], images.files[5]]
    text = "image,label\n" + "".join(f"{name},x\n" for name in names) if kind == "csv" else "\n".join(names)
    if kind == "whole paths":
        text = "\n".join(images.name(i) for i in (0, 5))
    (tmp_path / "out.csv").write_text(text)
    (part,) = leave_out(tmp_path / "out.csv", images)
    assert part.files == [name for name in map(str, images.files) if name not in names]
    assert "2 of 13 images left out by" in part.notes[-1]
    digits = load_digits("val")
    left, same = leave_out(tmp_path / "out.csv", images, digits)
    assert (len(left), len(same)) == (11, 360)
    assert len(leave_out(tmp_path / "out.csv", digits, must_find=False)[0]) == 360


def test_a_name_says_which_part_it_is_of(flat_folder, tmp_path):
    for split in ("train", "val"):
        shutil.copytree(flat_folder, tmp_path / "data" / split)
    train, val = (find_images(tmp_path / "data", split=split) for split in ("train", "val"))
    assert image_name(train, 0) == "train/class0/00.jpg"
    (tmp_path / "out.txt").write_text("val/class0/00.jpg")
    left, right = leave_out(tmp_path / "out.txt", train, val)
    assert (len(left), len(right)) == (13, 12)


class Split:
    """A split whose images have no folder, as shards and sets of the hub: `files` and `split`."""

    classes, files = ("cat",), ["cat/1.jpg", "cat/2.jpg", "cat/3.jpg"]

    def __init__(self, split, first=0):
        self.split, self.files, self.labels = split, self.files[first:], np.zeros(3 - first, np.int64)

    def __len__(self):
        return len(self.files)

    def name(self, index):
        return f"{self.split}-000000.tar: {self.files[index]}"


def test_images_of_one_name_in_two_splits_are_told_apart(tmp_path):
    """Both were left out."""
    train, val, few = Split("train"), Split("val"), Split("val", first=2)
    (tmp_path / "out.txt").write_text(image_name(train, 1))  # train/cat/2.jpg, as of the folder they are from
    left, right = leave_out(tmp_path / "out.txt", train, Subset(val, np.arange(3)))
    assert (left.files, len(right)) == (["train/cat/1.jpg", "train/cat/3.jpg"], 3)
    (tmp_path / "out.txt").write_text("cat/2.jpg")  # a folder of classes that became shards for validation
    assert [len(part) for part in leave_out(tmp_path / "out.txt", val)] == [2]
    assert [len(part) for part in leave_out(tmp_path / "out.txt", train, few)] == [2, 1]
    with pytest.raises(DataError, match=r"names cat/2\.jpg, which is in train and in val; begin it with its"):
        leave_out(tmp_path / "out.txt", train, val)


def test_a_run_s_record_goes_by_the_names_of_the_data_folder_too(images, tmp_path):
    write_sides(tmp_path / "run" / "split.jsonl", images, np.arange(13) < 6)
    (tmp_path / "out.txt").write_text(f"{images.files[2]}\n{images.files[9]}")
    val = list_images(tmp_path / "run" / "split.jsonl", split="val")
    (part,) = leave_out(tmp_path / "out.txt", Subset(val, np.arange(6)))
    assert [part.name(i) for i in range(5)] == [images.name(i) for i in (0, 1, 3, 4, 5)]


def test_names_of_spreadsheets_come_back(tmp_path):
    (tmp_path / "a.csv").write_text('image,note\n"\'=cat, 1.jpg",a\n\n', encoding="utf-8-sig")
    assert read_exclusions(tmp_path / "a.csv") == {"=cat, 1.jpg"}


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (None, ConfigError, "cannot read the exclusions"),
        (b"\xff\xfe", ConfigError, "no CSV in UTF-8"),
        (b"", ConfigError, "name no image"),
        (b"image,label\n", ConfigError, "name no image"),
        (b"label,image\ncat\n", ConfigError, "line 2 of the exclusions .* has no column image"),
        (b"nobody.jpg\n", DataError, "none of the 1 names .* is an image here, the first is nobody.jpg"),
    ],
)
def test_a_list_that_is_none(images, tmp_path, content, error, told):
    if content is not None:
        (tmp_path / "out.csv").write_bytes(content)
    with pytest.raises(error, match=told):
        leave_out(tmp_path / "out.csv", images)


def test_a_list_of_everything_is_refused(images, tmp_path):
    (tmp_path / "all.txt").write_text("\n".join(map(str, images.files)))
    with pytest.raises(DataError, match="leaves no image of 13"):
        leave_out(tmp_path / "all.txt", images)
