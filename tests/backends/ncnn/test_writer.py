"""What ncnn cannot hold, and what pnnx says when it fails; the files themselves are in tests/contract."""

import pytest

from mobileone.backends.export_options import ExportOptions
from mobileone.backends.ncnn.writer import check, tensor, versions, write
from mobileone.errors import ConfigError, ExportError

pytest.importorskip("ncnn", reason="needs mobileone[ncnn]")
pnnx = pytest.importorskip("pnnx", reason="needs mobileone[ncnn]")


@pytest.mark.parametrize("batch", [2, None])
def test_a_batch_is_refused_in_words_of_arguments(batch):
    with pytest.raises(ConfigError, match="one image at a time; leave dynamic_batch"):
        check(ExportOptions(batch=batch))
    check(ExportOptions())


def test_raw_pixels_are_floats_in_planes(network):
    spec = tensor(network, ExportOptions(raw_input=True))
    assert (spec.dtype, spec.shape(1), spec.values) == ("float32", (1, 3, 32, 32), "pixels")


def test_a_converter_that_fails_is_an_error_of_ours(network, tmp_path, monkeypatch):
    monkeypatch.setattr(pnnx, "EXEC_PATH", "false")
    with pytest.raises(ExportError, match="pnnx failed: 1"):
        write(network, tmp_path / "net.ncnn.param", ExportOptions())
    assert list(tmp_path.iterdir()) == []


def test_both_libraries_are_named():
    assert versions().keys() == {"ncnn", "pnnx"}
