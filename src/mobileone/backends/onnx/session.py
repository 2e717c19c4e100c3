"""Run .onnx files with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from mobileone.backends.manifest import Manifest
from mobileone.backends.session import Array, as_logits
from mobileone.backends.table import BACKENDS, Precision, require


class OnnxSession:
    """An .onnx file in ONNX Runtime, on the CPU, with every graph optimisation."""

    def __init__(self, path: Path, manifest: Manifest, *, threads: int, precision: Precision) -> None:
        ort = require("onnxruntime", BACKENDS["onnx"])
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._manifest = manifest
        self.runtime = f"ONNX Runtime {ort.__version__}"
        self.precision = precision

    def run(self, batch: Array) -> Array:
        """Logits of a batch."""
        (logits,) = self._session.run(None, {self._manifest.tensor.name: batch})
        return as_logits(logits, self._manifest)


open = OnnxSession
