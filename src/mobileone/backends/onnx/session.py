"""Run .onnx files with ONNX Runtime, on the CPU or a GPU."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from mobileone.backends.manifest import Manifest
from mobileone.backends.session import Array, as_features, as_logits
from mobileone.backends.table import BACKENDS, Precision, require
from mobileone.errors import ArtifactError, ConfigError
from mobileone.regular_file import open_regular

_NO_FALLBACK = "session.disable_cpu_ep_fallback"
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
# What a tensor's entry begins with that names the file of its data: field 1, 8 bytes, "location".
_EXTERNAL_KEY = b"\x0a\x08location"


# What ONNX Runtime calls where it computes.
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


class OnnxSession:
    """An .onnx file in ONNX Runtime, with every graph optimisation: on the CPU, or wholly on a GPU.

    Raises:
        ConfigError: if this ONNX Runtime cannot compute there, and would take the CPU without a word.
    """

    def __init__(
        self, path: Path, manifest: Manifest, *, threads: int, precision: Precision, device: str = "cpu"
    ) -> None:
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
        provider = _provider(ort, device, precision=precision)
        if device != "cpu":
            options.add_session_config_entry(_NO_FALLBACK, "1")
        try:
            self._session = ort.InferenceSession(source, options, providers=[provider])
        except Exception as error:  # its own have no common base
            if "external data" not in str(error).lower():
                raise
            raise ArtifactError(
                f"{path} keeps weights in another file, which no manifest covers; save it as one file"
            ) from error
        runs_on = self._session.get_providers()[0]
        if device != "cpu" and runs_on != provider[0]:
            raise ConfigError(
                f"ONNX Runtime took {runs_on} for {path} where device {device} was asked for: it does not "
                "find that device's libraries (CUDA, cuDNN, TensorRT); install those it wants, or give cpu"
            )
        self._manifest = manifest
        where = "" if device == "cpu" else f", {runs_on.removesuffix('ExecutionProvider')}"
        self.runtime = f"ONNX Runtime {ort.__version__}{where}"
        self.precision = precision

    def run(self, batch: Array) -> Array:
        """Logits of a batch."""
        (logits,) = self._session.run(None, {self._manifest.tensor.name: batch})
        return as_logits(logits, self._manifest)

    def features(self, batch: Array) -> list[Array]:
        """Feature maps of a batch."""
        return as_features(self._session.run(None, {self._manifest.tensor.name: batch}), self._manifest)


def _provider(ort: Any, device: str, *, precision: Precision) -> str | tuple[str, dict[str, str]]:
    """What to ask ONNX Runtime for: fp32 that is fp32, which on a GPU it is not by itself.

    Raises:
        ConfigError: if it is not to be had.
    """
    name, _, number = device.partition(":")
    provider = PROVIDERS[name]
    available = ort.get_available_providers()
    if provider not in available:
        raise ConfigError(
            f"device {device} wants ONNX Runtime's {provider}, this one has {', '.join(available)}; install "
            "onnxruntime-gpu in place of onnxruntime, or give device cpu"
        )
    if name == "cpu":
        return provider
    if precision == "int8":
        raise ConfigError(f"int8 files run on the CPU in ONNX Runtime, got device {device}; give cpu")
    options = {"device_id": number or "0"}
    # Convolutions would round their operands to 10 bits (TensorFloat-32).
    return (provider, options | {"use_tf32": "0"} if name == "cuda" else options)


def _may_name_files(path: Path) -> bool:
    with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_EXTERNAL_KEY) >= 0


open = OnnxSession
