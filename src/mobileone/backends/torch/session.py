"""Run .pt2 files, programs of torch.export, with PyTorch itself."""

from __future__ import annotations

from pathlib import Path

from mobileone.backends.manifest import Manifest
from mobileone.backends.session import Array, as_features, as_logits
from mobileone.backends.table import Precision
from mobileone.errors import ConfigError


class TorchSession:
    """A .pt2 file, run eagerly, operator by operator."""

    def __init__(self, path: Path, manifest: Manifest, *, threads: int, precision: Precision) -> None:
        import torch

        if precision != manifest.precision:  # the program itself says what it computes in
            raise ConfigError(f"{path} computes in {manifest.precision}, not in {precision}; export it so")
        torch.set_num_threads(threads)
        self._module = torch.export.load(path).module()
        self._manifest = manifest
        self.runtime = f"PyTorch {torch.__version__}"
        self.precision = precision

    def run(self, batch: Array) -> Array:
        """Logits of a batch."""
        import torch

        with torch.inference_mode():
            logits = self._module(torch.from_numpy(batch))
        return as_logits(logits.float().numpy(), self._manifest)

    def features(self, batch: Array) -> list[Array]:
        """Feature maps of a batch."""
        import torch

        with torch.inference_mode():
            maps = self._module(torch.from_numpy(batch))
        return as_features([each.numpy() for each in maps], self._manifest)


open = TorchSession
