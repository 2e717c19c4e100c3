"""An exported network together with its pre-processing: pixels in, logits out, in its own runtime."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mobileone.backends.manifest import Manifest, TensorSpec, read_manifest
from mobileone.backends.session import Array, open_session
from mobileone.backends.table import Precision
from mobileone.data.pixels import normalize
from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec


class Artifact:
    """An exported file, loaded.

    Args:
        path: the artifact, its manifest beside it.
        threads: of the runtime; None for all usable cores.
        precision: to execute in; None is the file's.
        manifest: where it has been read and checked already.

    Attributes:
        manifest: what stands beside the file.
        session: the runtime.
        input_spec: how a photo becomes pixels of the right size.
        num_classes: length of the logits.
        class_names: one a class; None where unknown.

    Raises:
        ArtifactError: if it is damaged, or its runtime refuses it.
        MissingExtraError: if its runtime is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        precision: Precision | None = None,
        manifest: Manifest | None = None,
    ) -> None:
        self.path = Path(path)
        self.manifest = manifest or read_manifest(self.path)
        self.session = open_session(self.path, threads=threads, precision=precision, manifest=self.manifest)
        self.input_spec: InputSpec = self.manifest.input_spec
        self.num_classes = self.manifest.num_classes
        self.class_names = self.manifest.class_names

    def __str__(self) -> str:
        return f"{self.session.runtime}, {self.session.precision}"

    @property
    def device(self) -> torch.device:
        """Where logits come out: the CPU."""
        return torch.device("cpu")

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits, float32 (N, num_classes), of images cut to size: uint8 (N, C, H, W), any N.

        Raises:
            ConfigError: if the images have another size or other channels.
        """
        batch = prepare(pixels, self.manifest)
        size = self.manifest.tensor.batch or len(batch)
        parts = []
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            missing = size - len(part)  # a graph of a fixed batch gets its last one filled up
            full = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
            parts.append(self.session.run(np.ascontiguousarray(full))[: len(part)])
        return torch.from_numpy(np.concatenate(parts))


def prepare(pixels: Tensor, manifest: Manifest) -> Array:
    """The array that an artifact's graph takes, from pixels.

    Args:
        pixels: uint8 (N, C, H, W) on the CPU, of the graph's size; RGB becomes grey for a network of one
            channel.
        manifest: the artifact's.

    Raises:
        ConfigError: if the images do not fit.
    """
    tensor = manifest.tensor
    if tuple(pixels.shape[-2:]) != (tensor.height, tensor.width):
        raise ConfigError(
            f"the exported network takes images of {tensor.height}×{tensor.width}, "
            f"got {pixels.shape[-2]}×{pixels.shape[-1]}; export it with another input_size"
        )
    if tensor.values == "normalized":
        values = normalize(pixels, manifest.input_spec)
    else:
        values = _fitting_channels(pixels, manifest.input_spec, tensor)
    if tensor.layout == "NHWC":
        values = values.permute(0, 2, 3, 1)
    array: Array = values.contiguous().numpy()
    return array


def _fitting_channels(pixels: Tensor, spec: InputSpec, tensor: TensorSpec) -> Tensor:
    """Raw pixels with the graph's channels and dtype."""
    if pixels.shape[1] != spec.in_chans:
        plain = InputSpec(size=spec.size, mean=(0.0,) * spec.in_chans, std=(1.0,) * spec.in_chans)
        pixels = normalize(pixels, plain).mul(255).round().to(torch.uint8)
    return pixels if tensor.dtype == "uint8" else pixels.float()
