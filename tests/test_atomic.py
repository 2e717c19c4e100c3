import os
from pathlib import Path

import pytest

from mobileone.atomic import atomic_path, leftovers, refuse_existing, staging
from mobileone.errors import ConfigError, MobileOneError


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "model.bin"
    target.write_bytes(b"old")

    def fail_halfway():
        with atomic_path(target) as path:
            path.write_bytes(b"half")
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        fail_halfway()
    assert [p.name for p in tmp_path.iterdir()] == ["model.bin"]
    assert target.read_bytes() == b"old"


def test_success_replaces_and_makes_folders(tmp_path):
    target = tmp_path / "new" / "model.bin"
    with atomic_path(target) as path:
        path.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert [p.name for p in target.parent.iterdir()] == ["model.bin"]


def test_unwritable_folder_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MobileOneError, match="cannot write"), atomic_path(tmp_path / "file" / "x"):
        pass


def test_what_a_killed_process_left_is_found(tmp_path):
    with atomic_path(tmp_path / "model.bin") as path:
        assert leftovers(tmp_path) == [path]
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_a_new_file_may_be_read_by_whom_the_system_lets(tmp_path):
    with atomic_path(tmp_path / "a") as path:
        path.write_text("x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_what_is_staged_takes_its_place_the_manifest_last(tmp_path, monkeypatch):
    placed = []
    real = Path.replace

    def replace(self, target):
        placed.append(target.name)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    (tmp_path / "net.onnx").mkdir()  # a folder gives way too
    (tmp_path / "net.onnx" / "old").touch()
    with staging(tmp_path / "net.onnx") as folder:
        for name in ("net.onnx.json", "net.onnx"):
            (folder / name).write_text("new")
    assert placed == ["net.onnx", "net.onnx.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == placed
    assert (tmp_path / "net.onnx").read_text() == "new"


def test_a_failure_within_staging_changes_nothing(tmp_path):
    (tmp_path / "net").write_text("old")

    def fail_halfway():
        with staging(tmp_path / "net") as folder:
            (folder / "net").write_text("half")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    assert (tmp_path / "net").read_text() == "old"


def test_nothing_is_overwritten_by_accident(tmp_path):
    refuse_existing(tmp_path / "new", force=False)
    refuse_existing(tmp_path, force=True)
    with pytest.raises(ConfigError, match="exists already; pass force=True to overwrite it"):
        refuse_existing(tmp_path, force=False)
