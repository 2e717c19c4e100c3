"""What was held out is kept as a list that reads as data."""

import numpy as np
import pytest

from mobileone.data import split_record
from mobileone.data.digits import load_digits
from mobileone.data.folder import find_images
from mobileone.data.image_list import list_images
from mobileone.data.open import open_data
from mobileone.data.split_record import read_sides, recorded_sides, write_sides
from mobileone.data.splitting import groups_of
from mobileone.data.subset import Subset, whole_of
from mobileone.errors import DataError


def test_a_folder_s_sides_come_back_and_are_data(flat_folder, tmp_path):
    (flat_folder / "class0").rename(flat_folder / " a;b ")
    whole = find_images(flat_folder, split=None)
    is_val = np.arange(13) % 3 == 0
    write_sides(tmp_path / "split.jsonl", whole, is_val)
    assert np.array_equal(recorded_sides(tmp_path / "split.jsonl", whole, groups=groups_of(whole)), is_val)
    val = open_data(tmp_path / "split.jsonl", split="val", classes=whole.classes)
    assert np.array_equal(val.labels, whole.labels[is_val])
    assert [val.path(0), val.classes] == [whole.path(0), whole.classes]
    part = Subset(whole, np.arange(1, 13))
    assert np.array_equal(recorded_sides(tmp_path / "split.jsonl", part, groups=groups_of(part)), is_val[1:])


def test_several_labels_are_kept(label_list, tmp_path):
    whole = list_images(label_list, split="train")
    write_sides(tmp_path / "split.jsonl", whole, np.arange(24) < 8)
    train = open_data(tmp_path / "split.jsonl", split="train", task="multilabel", classes=whole.classes)
    assert np.array_equal(train.labels, whole.labels[8:])


def test_an_image_that_came_later_is_for_training_but_where_its_group_is_held_out(flat_folder, tmp_path):
    whole, record = find_images(flat_folder, split=None), tmp_path / "split.jsonl"
    write_sides(record, Subset(whole, np.arange(11)), np.arange(11) < 6)
    later = recorded_sides(record, whole, groups=groups_of(whole))
    assert later.tolist() == [True] * 6 + [False] * 7
    groups = np.array([*range(11), 0, 8])
    assert recorded_sides(record, whole, groups=groups)[11:].tolist() == [True, False]


def test_images_that_are_no_files_are_kept_to_by_their_names(tmp_path):
    """As sets of the hub: their split was refused."""
    digits, record = load_digits("val"), tmp_path / "split.jsonl"
    is_val = np.arange(360) % 5 == 0
    write_sides(record, digits, is_val)
    label = digits.classes[digits.labels[0]]
    assert record.read_text().startswith(f'{{"label": "{label}", "split": "val", "name": "digits/val/0"}}\n')
    assert np.array_equal(recorded_sides(record, digits, groups=np.arange(360)), is_val)


def test_a_record_may_be_larger_than_a_list_and_a_line_not(flat_folder, tmp_path, monkeypatch):
    whole, record = find_images(flat_folder, split=None), tmp_path / "split.jsonl"
    write_sides(record, whole, np.arange(13) < 6)
    longest = max(map(len, record.read_bytes().splitlines())) + 1
    monkeypatch.setenv("MOBILEONE_MAX_JSON_BYTES", str(longest))
    assert sum(read_sides(record).values()) == 6
    monkeypatch.setenv("MOBILEONE_MAX_JSON_BYTES", str(longest - 1))
    with pytest.raises(DataError, match="a line is larger than"):
        read_sides(record)


def test_the_work_for_an_image_does_not_grow_with_their_number(flat_folder, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(split_record, "whole_of", lambda source: calls.append(1) or whole_of(source))
    write_sides(tmp_path / "split.jsonl", find_images(flat_folder, split=None), np.arange(13) < 6)
    assert len(calls) == 1


def test_what_is_no_record_is_refused(flat_folder, tmp_path):
    path = tmp_path / "split.jsonl"
    with pytest.raises(DataError, match="which says what the run holds out: No such file"):
        read_sides(path)
    path.write_text('{"image": "a"}\n')
    with pytest.raises(DataError, match="does not say what the run holds out"):
        read_sides(path)
    path.write_text('{"name": "a", "split": "val"}\n')
    with pytest.raises(DataError, match="names none of these images"):
        recorded_sides(path, find_images(flat_folder, split=None), groups=np.arange(13))
