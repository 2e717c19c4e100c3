"""ONNX Runtime on the CPU."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from mobileone.backends.manifest import manifest_path, record_files
from mobileone.backends.session import open_session
from mobileone.errors import ArtifactError
from mobileone.exporting.export import export

ort = pytest.importorskip("onnxruntime", reason="needs mobileone[onnx]")
onnx = pytest.importorskip("onnx", reason="needs mobileone[onnx]")


def test_it_runs_and_says_what_it_is(int8_file):
    session = open_session(int8_file("onnx"), threads=1)
    assert (session.runtime, session.precision) == (f"ONNX Runtime {ort.__version__}", "int8")
    logits = session.run(np.zeros((2, 32, 32, 3), np.uint8))
    assert (logits.shape, logits.dtype) == ((2, 7), np.float32)


def test_weights_in_a_file_that_no_manifest_lists_are_not_loaded(network, tmp_path):
    path = export(network, tmp_path / "net.onnx", format="onnx").path
    graph = onnx.load(path)
    path.unlink()
    onnx.save_model(graph, path, save_as_external_data=True, location="net.weights", size_threshold=0)
    assert (tmp_path / "net.weights").stat().st_size > 1000
    beside = manifest_path(path)
    values = json.loads(beside.read_text())
    values["files"] = [asdict(record) for record in record_files(path, [path])]
    beside.write_text(json.dumps(values))
    with pytest.raises(
        ArtifactError, match=r"net\.onnx keeps weights in another file, which no manifest covers"
    ):
        open_session(path)


def test_a_file_that_is_no_network_is_refused(garbage):
    with pytest.raises(ArtifactError, match=r"ONNX Runtime cannot load .*garbage\.onnx"):
        open_session(garbage("onnx"))
