"""An exported network in its own runtime, with its pre-processing: pixels in, logits out. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.manifest import Manifest, read_manifest
from mobileone.backends.session import Array, open_session
from mobileone.backends.table import Precision
from mobileone.errors import ConfigError
from mobileone.input_spec import LUMA, InputSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Artifact:
    """An exported file, loaded.

    Args:
        path: the artifact, its manifest beside it.
        threads: of the runtime; None for all usable cores.
        precision: to execute in; None is the file's.
        manifest: where it has been read and checked already.
        device: where the runtime computes, as of `open_session`; pixels and logits are on the CPU.

    Attributes:
        manifest: what stands beside the file.
        session: the runtime.
        input_spec: how a photo becomes pixels of the right size.
        num_classes: length of the logits; 0 where the network has no classifier and gives pooled features,
            or feature maps, as the manifest says.
        class_names: one a class; None where unknown.
        decision: how logits become probabilities and a sure answer; None where the manifest has none.
        task: what the logits mean.

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
        device: str = "cpu",
    ) -> None:
        self.path = Path(path)
        self.manifest = manifest or read_manifest(self.path)
        self.session = open_session(
            self.path, threads=threads, precision=precision, manifest=self.manifest, device=device
        )
        self.input_spec: InputSpec = self.manifest.input_spec
        self.num_classes = self.manifest.num_classes
        self.class_names = self.manifest.class_names
        self.decision = self.manifest.decision
        self.task = self.manifest.task

    def __str__(self) -> str:
        return f"{self.session.runtime}, {self.session.precision}"

    @property
    def device(self) -> torch.device:
        """Where logits come out: the CPU."""
        import torch

        return torch.device("cpu")

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits, float32 (N, num_classes), of images cut to size: uint8 (N, C, H, W), any N.

        Raises:
            ConfigError: if the images have another size or other channels.
        """
        import torch

        return torch.from_numpy(self.run(pixels.permute(0, 2, 3, 1).numpy()))  # (N, C, H, W) → (N, H, W, C)

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same for an array, without torch: logits, float32 (N, num_classes), of uint8 (N, H, W, C).

        Raises:
            ConfigError: if the images have another size or other channels, or the network gives feature maps.
        """
        refuse_features(self.manifest)
        parts = [self.session.run(batch)[:used] for batch, used in self._batches(pixels)]
        return np.concatenate(parts) if parts else np.empty((0, self.manifest.num_outputs), np.float32)

    def features(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Feature maps, float32 (N, C, H, W) a level, finest first, of uint8 (N, H, W, C), any N.

        The axes are PyTorch's, also where the file's order is another.

        Raises:
            ConfigError: if the images have another size or other channels, or the network gives none.
        """
        outputs = self.manifest.features
        if not outputs:
            raise ConfigError(
                f"{self.path.name} gives no feature maps; export a network of features_only=True for them"
            )
        runs = [
            [each[:used] for each in self.session.features(batch)] for batch, used in self._batches(pixels)
        ]
        maps = (
            [np.concatenate(parts) for parts in zip(*runs, strict=True)]
            if runs
            else [np.empty((0, *each.shape), np.float32) for each in outputs]
        )
        return [
            each.transpose(0, 3, 1, 2) if output.layout == "NHWC" else each
            for each, output in zip(maps, outputs, strict=True)
        ]

    def _batches(self, pixels: NDArray[np.uint8]) -> Iterator[tuple[Array, int]]:
        """What the graph takes at a time, and how many images of it count."""
        size = self.manifest.tensor.batch or max(len(pixels), 1)
        for start in range(0, len(pixels), size):
            part = prepare(pixels[start : start + size], self.manifest)
            missing = size - len(part)  # a graph of a fixed batch gets its last one filled up
            yield (
                np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part,
                len(part),
            )


def refuse_features(manifest: Manifest) -> None:
    """Refuse a network that gives feature maps where one vector an image is needed.

    Raises:
        ConfigError: saying what it gives.
    """
    if manifest.features:
        names = ", ".join(output.name for output in manifest.features)
        raise ConfigError(
            f"the exported {manifest.variant} gives feature maps ({names}), no logits and no single vector; "
            "Artifact.features gives them"
        )


def prepare(pixels: NDArray[np.uint8], manifest: Manifest) -> Array:
    """The array that an artifact's graph takes, from pixels.

    Args:
        pixels: uint8 (N, H, W, C), of the graph's size; RGB becomes grey for a network of one channel.
        manifest: the artifact's.

    Returns:
        Contiguous, in the graph's layout and dtype; the pixels themselves where they are that already.

    Raises:
        ConfigError: if the images do not fit.
    """
    tensor, spec = manifest.tensor, manifest.input_spec
    if pixels.shape[1:3] != (tensor.height, tensor.width):
        raise ConfigError(
            f"the exported network takes images of {tensor.height}×{tensor.width}, "
            f"got {pixels.shape[1]}×{pixels.shape[2]}; export it with another input_size"
        )
    channels = pixels.shape[3]
    if channels != spec.in_chans and (channels, spec.in_chans) != (3, 1):
        raise ConfigError(f"images have {channels} channels, the exported network takes {spec.in_chans}")
    values: Array = pixels
    if channels != spec.in_chans:
        values = _grey(pixels)
        if tensor.dtype == "uint8":
            values = np.rint(values).astype(np.uint8)
    if tensor.layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    if tensor.values == "normalized":
        return _normalized(values, spec, axis=1 if tensor.layout == "NCHW" else 3)
    return np.ascontiguousarray(values, dtype=tensor.dtype)


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Brightness, float32 (N, H, W, 1) in 0..255, as `data.pixels.normalize` computes it."""
    red, green, blue = (np.multiply(pixels[..., i], LUMA[i], dtype=np.float32) for i in range(3))
    return (red + green + blue)[..., None]


def _normalized(values: Array, spec: InputSpec, *, axis: int) -> NDArray[np.float32]:
    """(value / 255 − mean) / std, in the operations of `data.pixels.normalize`, so bit for bit the same."""
    shape = [1, 1, 1, 1]
    shape[axis] = spec.in_chans
    scale = np.array([1 / (255 * s) for s in spec.std], np.float32).reshape(shape)
    shift = np.array([-m / s for m, s in zip(spec.mean, spec.std, strict=True)], np.float32).reshape(shape)
    result = np.empty(values.shape, np.float32)
    result[...] = values
    result *= scale
    result += shift
    return result
