"""Inputs as files for the workers: noise to time with, photos to be right about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.artifact import prepare
from mobileone.backends.manifest import Manifest
from mobileone.input_spec import InputSpec


class InputFiles:
    """Writes arrays once, however many candidates read them.

    Args:
        folder: where to.
        seed: of the noise.
    """

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self._written: dict[tuple[Any, ...], Path] = {}

    def noise(self, manifest: Manifest | None, spec: InputSpec, batch_size: int) -> Path:
        """A batch of random pixels as that artifact takes it; without a manifest, as our networks do."""
        shape = (batch_size, spec.height, spec.width, spec.in_chans)
        pixels = np.random.default_rng(self.seed).integers(256, size=shape, dtype=np.uint8)
        return self._write("noise", pixels, manifest, spec)

    def photos(self, pixels: NDArray[np.uint8], manifest: Manifest | None, spec: InputSpec) -> Path:
        """Photos cut to size, uint8 (N, H, W, C), as that artifact takes them, or as our networks do."""
        return self._write("photos", pixels, manifest, spec)

    def _write(
        self, kind: str, pixels: NDArray[np.uint8], manifest: Manifest | None, spec: InputSpec
    ) -> Path:
        layout = manifest and (manifest.tensor.values, manifest.tensor.layout, manifest.tensor.dtype)
        key = (kind, len(pixels), spec, layout if layout != ("normalized", "NCHW", "float32") else None)
        if key not in self._written:
            path = self.folder / f"{kind}-{len(self._written)}.npy"
            np.save(path, _normalized(pixels, spec) if manifest is None else prepare(pixels, manifest))
            self._written[key] = path
        return self._written[key]


def _normalized(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """float32 (N, C, H, W), as a network of ours takes it."""
    import torch

    from mobileone.data.pixels import normalize

    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (N, H, W, C) → (N, C, H, W)
    array: NDArray[np.float32] = normalize(planes, spec).contiguous().numpy()
    return array
