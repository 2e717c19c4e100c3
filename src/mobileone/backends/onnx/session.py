"""Run .onnx files with ONNX Runtime."""

from __future__ import annotations

import mmap
from pathlib import Path

from mobileone.backends.manifest import Manifest
from mobileone.backends.session import Array, as_features, as_logits
from mobileone.backends.table import BACKENDS, Precision, require
from mobileone.errors import ArtifactError
from mobileone.regular_file import open_regular

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
# What a tensor's entry begins with that names the file of its data: field 1, 8 bytes, "location".
_EXTERNAL_KEY = b"\x0a\x08location"


class OnnxSession:
    """An .onnx file in ONNX Runtime, on the CPU, with every graph optimisation."""

    def __init__(self, path: Path, manifest: Manifest, *, threads: int, precision: Precision) -> None:
        ort = require("onnxruntime", BACKENDS["onnx"])
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Weights that the graph keeps in files of their own are in no manifest. Where any may be, from bytes
        # and with a place to look for files that cannot be there; else by path, which takes less memory.
        source: str | bytes = str(path)
        if _may_name_files(path):
            source = path.read_bytes()
            options.add_session_config_entry(_WEIGHTS_FOLDER, f"{path.absolute()}/nowhere")
        try:
            self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own have no common base
            if "external data" not in str(error).lower():
                raise
            raise ArtifactError(
                f"{path} keeps weights in another file, which no manifest covers; save it as one file"
            ) from error
        self._manifest = manifest
        self.runtime = f"ONNX Runtime {ort.__version__}"
        self.precision = precision

    def run(self, batch: Array) -> Array:
        """Logits of a batch."""
        (logits,) = self._session.run(None, {self._manifest.tensor.name: batch})
        return as_logits(logits, self._manifest)

    def features(self, batch: Array) -> list[Array]:
        """Feature maps of a batch."""
        return as_features(self._session.run(None, {self._manifest.tensor.name: batch}), self._manifest)


def _may_name_files(path: Path) -> bool:
    with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_EXTERNAL_KEY) >= 0


open = OnnxSession
