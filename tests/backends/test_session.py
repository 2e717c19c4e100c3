"""Artifacts are loaded by their own runtime, and what it cannot do is refused in our words."""

from dataclasses import replace

import numpy as np
import pytest

from mobileone.backends.session import as_logits, open_session
from mobileone.backends.table import BACKENDS
from mobileone.errors import ArtifactError, ConfigError
from mobileone.exporting.export import export


@pytest.fixture
def exported(network, tmp_path):
    return export(network, tmp_path / "net.pt2", format="torch")


def test_a_session_runs_what_its_manifest_describes(network, exported):
    session = open_session(exported.path, threads=1)
    assert (session.runtime.partition(" ")[0], session.precision) == ("PyTorch", "fp32")
    assert session.run(np.zeros(exported.manifest.tensor.shape(1), np.float32)).shape == (1, 7)


def test_a_damaged_file_is_an_error_of_ours(exported):
    exported.path.write_bytes(b"PK\x03\x04 not a program")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        open_session(exported.path)
    with pytest.raises(ArtifactError, match="PyTorch cannot load"):
        open_session(exported.path, manifest=exported.manifest)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"threads": 0}, "threads must be at least 1"),
        ({"precision": "int8"}, "cannot run in int8"),
        ({"precision": "fp16"}, "computes in fp32, not in fp16"),
    ],
)
def test_what_a_runtime_cannot_do_is_refused(exported, options, wanted):
    with pytest.raises(ConfigError, match=wanted):
        open_session(exported.path, **options)


def test_a_runtime_that_is_not_here_is_named(exported, monkeypatch):
    monkeypatch.setitem(BACKENDS, "torch", replace(BACKENDS["torch"], runtime="Moon", executes=()))
    with pytest.raises(ArtifactError, match="runs in Moon only"):
        open_session(exported.path)


def test_an_output_of_another_shape_is_refused(exported):
    assert as_logits(np.ones((2, 7), np.float16), exported.manifest).dtype == np.float32
    with pytest.raises(ArtifactError, match=r"gave \(2, 6\), its manifest says \(N, 7\)"):
        as_logits(np.ones((2, 6)), exported.manifest)
