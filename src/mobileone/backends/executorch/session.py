"""Run ExecuTorch's .pte files with the runtime that its Python package brings (XNNPACK backend)."""

from __future__ import annotations

import threading
from importlib.metadata import version
from pathlib import Path

from mobileone.backends.manifest import Manifest
from mobileone.backends.quiet import quiet
from mobileone.backends.session import Array, as_features, as_logits
from mobileone.backends.table import BACKENDS, Precision, require

# All programs of the process share one pool of threads and one workspace, so one runs at a time.
_BUSY = threading.Lock()


class ExecuTorchSession:
    """A .pte file."""

    def __init__(self, path: Path, manifest: Manifest, *, threads: int, precision: Precision) -> None:
        with _BUSY, quiet():  # it tells of every file about the processor that it does not find
            library = require("executorch.extension.pybindings.portable_lib", BACKENDS["executorch"])
            # One pool for the whole process, whatever the number of sessions.
            library._unsafe_reset_threadpool(threads)
            self._program = library._load_for_executorch(str(path))
            self._program.method_meta("forward")  # it opens any file and reads it when first asked
        self._manifest = manifest
        self.runtime = f"ExecuTorch {version('executorch')}"
        self.precision = precision

    def run(self, batch: Array) -> Array:
        """Logits of a batch."""
        return as_logits(self._run(batch)[0], self._manifest)

    def features(self, batch: Array) -> list[Array]:
        """Feature maps of a batch."""
        return as_features(self._run(batch), self._manifest)

    def _run(self, batch: Array) -> list[Array]:
        import torch

        with _BUSY:
            return [each.numpy() for each in self._program.forward((torch.from_numpy(batch),))]


open = ExecuTorchSession
