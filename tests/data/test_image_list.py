"""Images named by a list: which, with which labels, and what is refused."""

import numpy as np
import pytest

from mobileone.data.fingerprint import Fingerprint
from mobileone.data.image_list import list_images
from mobileone.data.loader import eval_loader
from mobileone.data.open import open_data, open_validation
from mobileone.errors import DataError
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec


@pytest.fixture
def listed(tmp_path, picture):
    """`listed("a.csv", rows)`: a list beside the pictures a.jpg … f.jpg in a folder."""
    (tmp_path / "img").mkdir()
    for number, name in enumerate("abcdef"):
        picture(number, 20, 24).save(tmp_path / "img" / f"{name}.jpg")

    def write(text, name="list.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


SEVERAL = """image,labels,split
img/a.jpg,red;hat,train
img/b.jpg,hat,train
img/c.jpg,,train
img/d.jpg,red,val
"""


def test_several_labels_are_a_table_of_truths(listed):
    found = list_images(listed(SEVERAL), split="train")
    assert found.classes == ("hat", "red")
    assert found.labels.tolist() == [[True, True], [True, False], [False, False]]
    assert found.name(1).endswith("img/b.jpg")
    assert found.read(1).decode().shape == (20, 24, 3)
    assert "1 of 3 images have no label" in found.notes[0]
    val = open_validation(listed(SEVERAL), classes=found.classes, task="multilabel")
    assert (val.labels.tolist(), val.labels.dtype) == ([[False, True]], np.bool_)


def test_one_label_an_image_is_an_index(listed):
    path = listed("image,label,group\nimg/b.jpg,dog,x\nimg/a.jpg,cat,y\n")
    found = open_data(path, split="val")
    assert (found.classes, found.labels.tolist(), found.groups) == (("cat", "dog"), [1, 0], ("x", "y"))
    assert open_data(path, split="val", task="multilabel").labels.tolist() == [[False, True], [True, False]]
    single = listed("image,labels\nimg/b.jpg,dog\n")
    assert open_data(single, split="val", task="singlelabel").labels.tolist() == [0]


def test_a_network_s_classes_fix_the_labels(listed):
    path = listed("image,label\nimg/b.jpg,dog\n")
    assert open_data(path, split="val", classes=("cat", "dog", "emu")).labels.tolist() == [1]


def test_batches_hold_a_row_of_numbers_an_image(listed):
    found = list_images(listed(SEVERAL), split="train")
    transform = EvalTransform.from_spec(InputSpec(size=16))
    batch = next(iter(eval_loader(found, transform, batch_size=2)))
    assert (batch.labels.tolist(), str(batch.labels.dtype)) == ([[1.0, 1.0], [1.0, 0.0]], "torch.float32")


def test_a_fingerprint_counts_an_image_for_each_of_its_labels_or_for_none(listed):
    one = Fingerprint.of(list_images(listed(SEVERAL), split="train"))
    assert one.counts == {"hat": 2, "red": 1, "": 1}
    assert Fingerprint.from_dict(one.to_dict()) == one
    other = Fingerprint.of(list_images(listed(SEVERAL.replace("c.jpg,,", "e.jpg,,")), split="train"))
    assert one.changes(other) == "4 images now, 4 then (: as many, but others)"


@pytest.mark.parametrize(
    ("there", "taken"), [("val", "val"), ("valid", "valid"), ("test", "test"), ("train", None)]
)
def test_validation_is_the_split_that_says_so(listed, there, taken):
    path = listed(f"image,label,split\nimg/a.jpg,cat,train\nimg/b.jpg,cat,{there}\n")
    if taken is None:
        with pytest.raises(DataError, match="has no row of split val, but of train"):
            list_images(path, split="val")
        return
    found = list_images(path, split="val")
    assert found.files[0] == "img/b.jpg"
    assert bool(found.notes) is (taken != "val")


def test_a_class_that_is_not_measured_is_named(listed):
    path = listed("image,label,split\nimg/a.jpg,cat,train\nimg/b.jpg,dog,train\nimg/c.jpg,cat,val\n")
    assert list_images(path, split="val").notes == (
        f"{path}: label dog has images of split train alone, so it is not measured",
    )


@pytest.mark.parametrize(
    ("rows", "split", "options", "wanted"),
    [
        ("img/a.jpg,cat,val\nimg/b.jpg,dog,train\n", "train", {}, "label cat has no image of split train"),
        ("img/a.jpg,cat,val\nimg/b.jpg,dog,train\n", None, {}, "it is split already"),
        ("img/a.jpg,cat,val\nnone.jpg,cat,val\n", "val", {}, "line 3: none.jpg is not there"),
        ("x.jpg,cat,val\ny.jpg,cat,val\n", "val", {}, r"\(and 1 more of 2 images\); paths are taken from"),
        (
            "img/a.jpg,cat,val\nimg/../img/a.jpg,cat,val\n",
            "val",
            {},
            "line 3: img/../img/a.jpg is the image of line 2",
        ),
        ("img/a.jpg,cta,val\n", "val", {"classes": ("cat", "dog")}, "label cta is none of the 2 .*mean cat"),
        ("img/a.jpg,cat,test\nimg/b.jpg,cat,dev\n", "val", {}, "has the splits test, dev and no val"),
    ],
)
def test_what_cannot_be_used_is_refused(listed, rows, split, options, wanted):
    with pytest.raises(DataError, match=wanted):
        list_images(listed(f"image,label,split\n{rows}"), split=split, **options)


def test_labels_that_do_not_fit_the_task_are_refused(listed, flat_folder):
    with pytest.raises(DataError, match=r"line 2: img/a\.jpg has 2 labels; each image must have one"):
        open_data(listed(SEVERAL), split="train", task="singlelabel")
    with pytest.raises(DataError, match="has one label an image; for task=multilabel give a list"):
        open_data(flat_folder, split="val", task="multilabel")
    with pytest.raises(DataError, match="has no column split, so which images to train on is not said"):
        open_data(listed("image,label\nimg/a.jpg,cat\n"), split="train")
    with pytest.raises(DataError, match="no image has a label"):
        open_data(listed("image,labels\nimg/a.jpg,\n"), split="val")
