"""Where a data argument leads."""

from pathlib import Path

import pytest

from mobileone.data.open import open_data
from mobileone.errors import DataError


def test_digits_are_a_word_and_folders_are_paths(tmp_path: Path) -> None:
    assert len(open_data("digits", split="train")) == 1437
    with pytest.raises(DataError):
        open_data(tmp_path / "digits", split="val")


def test_a_data_folder_has_splits_and_its_classes(flat_folder: Path) -> None:
    source = open_data(flat_folder, split="val")
    assert (len(source), source.classes) == (13, ("class0", "class1", "class2"))
    swapped = open_data(flat_folder, split="val", classes=("class2", "class1", "class0"))
    assert swapped.labels.tolist() == [2 - label for label in source.labels.tolist()]
    with pytest.raises(DataError, match="has no train/ folder"):
        open_data(flat_folder / "class0", split="train")


def test_shards_are_known_by_their_pattern(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-000000"):
        open_data(f"{tmp_path}/train-{{000000..000001}}.tar", split="train")
