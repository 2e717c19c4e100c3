"""Run .onnx files with ONNX Runtime, on the CPU or a GPU."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
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
LIBRARIES = (
    "it does not find that device's libraries (CUDA, cuDNN, TensorRT); install those it wants, or give cpu"
)

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
        provider, asked = _provider(ort, device, precision=precision)
        if device != "cpu":
            options.add_session_config_entry(_NO_FALLBACK, "1")
            if hasattr(ort, "preload_dlls"):  # CUDA's and cuDNN's libraries, where pip has installed them
                ort.preload_dlls()
        try:
            self._session = ort.InferenceSession(
                source, options, providers=[(provider, asked)], enable_fallback=0
            )
        except Exception as error:  # its own have no common base
            if "explicitly disabled" in str(error):
                raise ConfigError(
                    f"ONNX Runtime would run {path}, or a part of it, on the CPU where device {device} was "
                    f"asked for: {LIBRARIES}"
                ) from error
            if "external data" not in str(error).lower():
                raise
            raise ArtifactError(
                f"{path} keeps weights in another file, which no manifest covers; save it as one file"
            ) from error
        if device != "cpu":
            _check_taken(self._session, path, device, provider, asked)
        self._manifest, self._ort, self._number = manifest, ort, int(asked.get("device_id", 0))
        where = "" if device == "cpu" else f", {provider.removesuffix('ExecutionProvider')}"
        self.runtime = f"ONNX Runtime {ort.__version__}{where}"
        self.precision = precision

    def run(self, batch: Array) -> Array:
        """Logits of a batch."""
        (logits,) = self._session.run(None, {self._manifest.tensor.name: batch})
        return as_logits(logits, self._manifest)

    def features(self, batch: Array) -> list[Array]:
        """Feature maps of a batch."""
        return as_features(self._session.run(None, {self._manifest.tensor.name: batch}), self._manifest)

    def resident(self, batch: Array) -> Callable[[], None]:
        """A run of a batch that lies on the GPU, into logits there, which waits until they are computed."""
        binding = self._session.io_binding()
        value = self._ort.OrtValue.ortvalue_from_numpy(batch, "cuda", self._number)
        binding.bind_ortvalue_input(self._manifest.tensor.name, value)
        binding.bind_output(self._session.get_outputs()[0].name, "cuda", self._number)

        def run() -> None:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return run


def _provider(ort: Any, device: str, *, precision: Precision) -> tuple[str, dict[str, str]]:
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
        return provider, {}
    options = {"device_id": number or "0"}
    # Convolutions would round their operands to 10 bits (TensorFloat-32). TensorRT has no option for that but
    # the variable, which NVIDIA's libraries read when they are loaded.
    if name == "cuda":
        return provider, options | {"use_tf32": "0"}
    if precision == "fp32":
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    return provider, options | {"trt_fp16_enable": "1" if precision == "fp16" else "0"}


def _check_taken(session: Any, path: Path, device: str, provider: str, asked: dict[str, str]) -> None:
    """Read back where a session computes, and how.

    Raises:
        ConfigError: if that is not what was asked for.
    """
    runs_on = session.get_providers()[0]
    if runs_on != provider:
        raise ConfigError(
            f"ONNX Runtime took {runs_on} for {path} where device {device} was asked for: {LIBRARIES}"
        )
    taken = session.get_provider_options().get(provider, {})
    for name, value in asked.items():
        if taken.get(name, value) != value:
            raise ConfigError(
                f"ONNX Runtime runs {path} with {name}={taken[name]} where {value} was asked for, so in "
                "another precision or on another device; install another onnxruntime-gpu, or give cpu"
            )


def _may_name_files(path: Path) -> bool:
    with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_EXTERNAL_KEY) >= 0


open = OnnxSession
