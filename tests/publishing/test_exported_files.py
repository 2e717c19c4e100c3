"""Exported files that go along."""

import pytest

from mobileone.errors import ArtifactError, PublishError
from mobileone.exporting.export import export
from mobileone.exporting.pipeline import weights_sha256
from mobileone.publishing.exported_files import check_exported, exported_in


def test_names_that_collide_and_files_that_are_none(network, needs_backend, tmp_path):
    needs_backend("onnx")
    sha = weights_sha256(network)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        export(network, tmp_path / folder / "net.onnx", format="onnx")
    (tmp_path / "a" / "other.txt").write_text("no export")
    assert [path.name for path in exported_in(tmp_path / "a")] == ["net.onnx"]
    both = [tmp_path / "a" / "net.onnx", tmp_path / "b" / "net.onnx"]
    assert len(check_exported(both[:1], weights_sha256=sha, reserved=())) == 1
    with pytest.raises(PublishError, match=r"two files would be called net.onnx"):
        check_exported(both, weights_sha256=sha, reserved=())
    with pytest.raises(ArtifactError, match="no exported network"):
        check_exported([tmp_path / "a" / "other.txt"], weights_sha256=sha, reserved=())
    with pytest.raises(ArtifactError, match="not there; or leave it out"):
        check_exported([tmp_path / "gone.onnx"], weights_sha256=sha, reserved=())
