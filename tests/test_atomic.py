import pytest

from mobileone.atomic import atomic_path
from mobileone.errors import MobileOneError


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
