"""A set's fingerprint: the same wherever the set lies, another when an image comes, goes or is renamed."""

import json
import shutil

import numpy as np
import pytest

from mobileone.data.fingerprint import Fingerprint
from mobileone.data.folder import find_images
from mobileone.data.shards.write import write_shards


@pytest.fixture
def folder(flat_folder):
    return flat_folder


def of(folder):
    return Fingerprint.of(find_images(folder, split="val"))


def test_a_copy_and_its_shards_have_the_same(folder, tmp_path):
    pytest.importorskip("webdataset", reason="shards need webdataset, an extra")
    from mobileone.data.shards.shard_source import open_shards

    copy = shutil.copytree(folder, tmp_path / "copy")
    write_shards(folder, tmp_path / "shards", num_workers=0)
    packed = Fingerprint.of(open_shards(tmp_path / "shards", split="val"))
    assert of(folder) == of(copy) == packed
    assert of(folder).changes(packed) is None
    assert sum(packed.counts.values()) == 13


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: (d / "class1" / "01.jpg").unlink(), "12 images now, 13 then (class1: 3 now, 4 then)"),
        (lambda d: shutil.copy(d / "class1" / "01.jpg", d / "class2"), "(class2: 5 now, 4 then)"),
        (lambda d: (d / "class0" / "00.jpg").rename(d / "class0" / "x.jpg"), "(class0: as many, but others)"),
        (lambda d: (d / "class1").rename(d / "class9"), "3 classes now, 3 then, or others"),
        (lambda d: shutil.rmtree(d / "class1"), "2 classes now, 3 then, or others"),
    ],
)
def test_every_change_is_said(folder, change, words):
    before = of(folder)
    change(folder)
    assert words in before.changes(of(folder))


def test_many_changed_classes_are_counted():
    names = [f"c{number}\x1b" for number in range(9)]
    before = Fingerprint(dict.fromkeys(names, 1), dict.fromkeys(names, "a"))
    words = before.changes(Fingerprint(dict.fromkeys(names, 2), dict.fromkeys(names, "b")))
    assert words.endswith("and 6 classes more)")
    assert words.isprintable()


def test_there_and_back_and_hostile_values_are_refused(folder):
    here = of(folder)
    assert Fingerprint.from_dict(json.loads(json.dumps(here.to_dict()))) == here
    for values in ([], None, {"a": 1}, {"a": [1]}, {"a": ["1", "x"]}, {"a": [True, "x"]}, {"a": [1, 2]}):
        with pytest.raises(ValueError, match=r"it has no classes|no number and hash"):
            Fingerprint.from_dict(values)


def test_a_source_without_names_is_told_by_its_labels():
    class Plain:
        classes = ("a", "b")

        def __init__(self, labels):
            self.labels = np.array(labels)

    assert Fingerprint.of(Plain([0, 1, 0])) == Fingerprint.of(Plain([0, 1, 0]))
    assert Fingerprint.of(Plain([0, 1, 0])).changes(Fingerprint.of(Plain([0, 0, 1])))
