"""Resume files as values: what comes back, and what is refused. Hostile files: test_hostile_files.py."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mobileone.checkpoint.resume_file import read_resume_file
from mobileone.errors import CheckpointError, UnsafeCheckpointError


def written(value: Any, path: Path) -> Path:
    torch.save(value, path)
    return path


def test_values_and_tensors_come_back_with_their_strides(tmp_path: Path) -> None:
    image = torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    value = {
        "a": [1, 2.5, None, True, "x", b"y"],
        "pair": (image, torch.tensor([1, 2])),
        "empty": torch.empty(0),
    }
    got = read_resume_file(written(value, tmp_path / "a.pt"))
    assert got["a"] == value["a"]
    assert torch.equal(got["pair"][0], image)
    assert got["pair"][0].stride() == image.stride()
    assert (got["pair"][1].dtype, got["empty"].shape) == (torch.int64, (0,))


def test_what_stood_twice_is_one_thing(tmp_path: Path) -> None:
    tensor, inner = torch.ones(3), [1]
    got = read_resume_file(written({"a": tensor, "b": tensor, "c": inner, "d": inner}, tmp_path / "a.pt"))
    assert got["a"] is got["b"]
    assert got["c"] is got["d"]


def test_a_value_that_holds_itself_is_refused(tmp_path: Path) -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(CheckpointError, match="a value in it holds itself"):
        read_resume_file(written(circle, tmp_path / "a.pt"))


def test_another_object_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises((CheckpointError, UnsafeCheckpointError), match=r"refused|not a resume file"):
        read_resume_file(written({"a": Path("x")}, tmp_path / "a.pt"))


def test_views_of_one_storage_may_not_add_up_to_more_than_the_file(tmp_path: Path) -> None:
    storage = torch.zeros(1000)
    large = [storage[start:] for start in range(50)]
    with pytest.raises(UnsafeCheckpointError, match="add up to more than the file"):
        read_resume_file(written({"a": large}, tmp_path / "a.pt"))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        read_resume_file(tmp_path / "nowhere.pt")
