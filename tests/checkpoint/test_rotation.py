"""Rotating resume files: which stay, which is read, and what is said of those that are not as written."""

from pathlib import Path

import pytest
import torch

from mobileone.checkpoint.rotation import Rotation
from mobileone.errors import CheckpointError, MobileOneError


@pytest.fixture
def rotation(tmp_path: Path) -> Rotation:
    return Rotation(tmp_path / "checkpoints", keep=2)


def fill(rotation: Rotation, *steps: int) -> None:
    for step in steps:
        rotation.save({"step": step, "weight": torch.full((1000,), float(step))}, epoch=step // 10, step=step)


def steps(rotation: Rotation) -> list[int]:
    return [int(path.name.split("-")[3]) for path in rotation.files()]


def test_the_newest_stay_and_the_newest_is_read(rotation: Rotation) -> None:
    assert rotation.newest() is None
    fill(rotation, 5, 10, 15)
    assert steps(rotation) == [15, 10]
    found = rotation.newest()
    assert found is not None
    assert (found.state["step"], found.damaged) == (15, ())
    assert sorted(path.suffix for path in rotation.path.iterdir()) == [".pt", ".pt"]


def test_a_finished_epoch_comes_after_its_last_step(rotation: Rotation) -> None:
    rotation.save({"evaluated": False}, epoch=0, step=10)
    rotation.save({"evaluated": True}, epoch=1, step=10)
    found = rotation.newest()
    assert found is not None
    assert found.state == {"evaluated": True}


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "another file under its name"])
def test_a_damaged_file_falls_back_to_the_one_before(rotation: Rotation, damage: str) -> None:
    fill(rotation, 5, 10)
    newest, before = rotation.files()
    content = newest.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    newest.write_bytes(
        {"torn": content[:-100], "flipped": bytes(flipped), "empty": b""}.get(damage, before.read_bytes())
    )
    found = rotation.newest()
    assert found is not None
    assert (found.path, found.state["step"]) == (before, 5)
    (line,) = found.damaged
    assert newest.name in line
    assert "torn or damaged" in line


def test_every_flipped_bit_is_seen(rotation: Rotation) -> None:
    fill(rotation, 5)
    (path,) = rotation.files()
    content = path.read_bytes()
    for place in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="torn or damaged"):
            rotation.check(path)
    path.write_bytes(content)
    rotation.check(path)  # the twin: unharmed it passes


def test_nothing_readable_is_an_error_and_not_a_fresh_start(rotation: Rotation) -> None:
    fill(rotation, 5, 10)
    for path in rotation.files():
        path.write_bytes(b"")
    with pytest.raises(
        CheckpointError, match=r"none of the 2 checkpoints .* can be used; the newest: .*00010"
    ):
        rotation.newest()


def test_a_course_that_was_left_is_removed(rotation: Rotation) -> None:
    fill(rotation, 5, 10)
    fill(rotation, 7)  # resumed from 5, since 10 was damaged
    assert steps(rotation) == [7, 5]


def test_a_failed_write_leaves_the_files_before_it(
    rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(rotation, 5, 10)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(MobileOneError, match="No space left on device"):
        fill(rotation, 15)
    assert steps(rotation) == [10, 5]
    assert len(list(rotation.path.iterdir())) == 2


def test_what_a_killed_process_left_is_swept(rotation: Rotation) -> None:
    fill(rotation, 5)
    (rotation.path / "draft.pt").write_bytes(b"half")
    (rotation.path / ".draft.pt.unfinished-abc.pt").write_bytes(b"half")
    (rotation.path / "mine.txt").write_text("not ours")
    rotation.sweep()
    assert {path.name for path in rotation.path.iterdir()} == {rotation.files()[0].name, "mine.txt"}
