"""LiteRT's interpreter as a session."""

import numpy as np
import pytest

from mobileone.backends.session import open_session
from mobileone.errors import ArtifactError
from mobileone.exporting.export import export

pytest.importorskip("ai_edge_litert", reason="needs mobileone[litert]")


def test_batches_of_changing_size(network, tmp_path):
    done = export(network, tmp_path / "net.tflite", format="litert", dynamic_batch=True)
    session = open_session(done.path, threads=1)
    assert session.runtime.startswith("LiteRT ")
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    together = session.run(images)
    assert (together.shape, together.dtype) == ((3, 7), np.float32)
    alone = np.concatenate([session.run(images[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)


def test_a_file_that_is_no_network_is_refused(garbage):
    with pytest.raises(ArtifactError, match=r"LiteRT cannot load .*garbage\.tflite"):
        open_session(garbage("litert"))
