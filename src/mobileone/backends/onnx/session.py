"""Run .onnx files with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from mobileone.backends.manifest import Manifest
from mobileone.backends.session import Array, as_logits
from mobileone.backends.table import BACKENDS, Precision, require
from mobileone.errors import ArtifactError

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


class OnnxSession:
    """An .onnx file in ONNX Runtime, on the CPU, with every graph optimisation."""

    def __init__(self, path: Path, manifest: Manifest, *, threads: int, precision: Precision) -> None:
        ort = require("onnxruntime", BACKENDS["onnx"])
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # From bytes, and with a place to look for other files that cannot be there: weights that the graph
        # keeps in files of their own are in no manifest.
        options.add_session_config_entry(_WEIGHTS_FOLDER, f"{path.absolute()}/nowhere")
        try:
            self._session = ort.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
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


open = OnnxSession
