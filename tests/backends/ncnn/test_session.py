"""ncnn takes one image at a time."""

import numpy as np
import pytest

from mobileone.backends.session import open_session
from mobileone.errors import ArtifactError
from mobileone.exporting.export import export

pytest.importorskip("ncnn", reason="needs mobileone[ncnn]")
pytest.importorskip("pnnx", reason="needs mobileone[ncnn]")


def test_a_batch_runs_image_by_image(network, tmp_path):
    session = open_session(export(network, tmp_path / "net.ncnn.param", format="ncnn").path, threads=1)
    assert session.runtime.startswith("ncnn ")
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    together = session.run(images)
    assert (together.shape, together.dtype) == ((2, 7), np.float32)
    assert np.array_equal(session.run(images[1:]), together[1:])
    (tmp_path / "net.ncnn.bin").unlink()
    with pytest.raises(ArtifactError, match=r"net\.ncnn\.bin is missing"):
        open_session(tmp_path / "net.ncnn.param")


def test_a_file_that_is_no_network_is_refused(garbage):
    with pytest.raises(ArtifactError, match=r"ncnn cannot load .*garbage\.ncnn\.param with garbage"):
        open_session(garbage("ncnn"))
