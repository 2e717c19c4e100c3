"""ONNX Runtime on the CPU."""

import numpy as np
import pytest

from mobileone.backends.session import open_session
from mobileone.errors import ArtifactError

ort = pytest.importorskip("onnxruntime", reason="needs mobileone[onnx]")
pytest.importorskip("onnx", reason="needs mobileone[onnx]")


def test_it_runs_and_says_what_it_is(int8_file):
    session = open_session(int8_file("onnx"), threads=1)
    assert (session.runtime, session.precision) == (f"ONNX Runtime {ort.__version__}", "int8")
    logits = session.run(np.zeros((2, 32, 32, 3), np.uint8))
    assert (logits.shape, logits.dtype) == ((2, 7), np.float32)


def test_a_file_that_is_no_network_is_refused(garbage):
    with pytest.raises(ArtifactError, match=r"ONNX Runtime cannot load .*garbage\.onnx"):
        open_session(garbage("onnx"))
