"""Run .tflite files with LiteRT and its XNNPACK delegate."""

from __future__ import annotations

import threading
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mobileone.backends.manifest import Manifest
from mobileone.backends.quiet import quiet
from mobileone.backends.session import Array, as_features, as_logits
from mobileone.backends.table import BACKENDS, Precision, require


class LiteRtSession:
    """A .tflite file in LiteRT's interpreter."""

    def __init__(self, path: Path, manifest: Manifest, *, threads: int, precision: Precision) -> None:
        interpreter = require("ai_edge_litert.interpreter", BACKENDS["litert"]).Interpreter
        with quiet():  # it tells which delegate it made
            self._interpreter = interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [each["index"] for each in self._interpreter.get_output_details()]
        self._busy = threading.Lock()
        self._manifest = manifest
        self._shape = tuple(self._interpreter.get_input_details()[0]["shape"])
        self.runtime = f"LiteRT {version('ai-edge-litert')}"
        self.precision = precision

    def run(self, batch: Array) -> Array:
        """Logits of a batch."""
        return as_logits(self._run(batch)[0], self._manifest)

    def features(self, batch: Array) -> list[Array]:
        """Feature maps of a batch."""
        return as_features(self._run(batch), self._manifest)

    def _run(self, batch: Array) -> list[Array]:
        with (
            self._busy
        ):  # an interpreter holds input and output of one run; one a thread would hold weights too
            if batch.shape != self._shape:
                self._interpreter.resize_tensor_input(self._input, batch.shape)
                self._interpreter.allocate_tensors()
                self._shape = batch.shape
            self._interpreter.set_tensor(self._input, np.ascontiguousarray(batch))
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(each) for each in self._outputs]


open = LiteRtSession
