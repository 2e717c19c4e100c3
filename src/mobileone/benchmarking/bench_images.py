"""Inputs as files for the workers: noise to time with, photos to be right about."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileone.backends.artifact import prepare
from mobileone.backends.manifest import Manifest
from mobileone.data.folder import IMAGE_EXTENSIONS
from mobileone.data.open import open_data
from mobileone.errors import ConfigError
from mobileone.imagenet import resolve_classes
from mobileone.images.decode import Image, read_image
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec
from mobileone.progress_bar import progress_bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Photos:
    """Images to evaluate on.

    Attributes:
        images: not decoded yet.
        labels: class indices, int64 (N,); None where they are unknown.
        title: what they are, in words.
    """

    images: Sequence[Image]
    labels: NDArray[np.int64] | None
    title: str

    def pixels(self, spec: InputSpec, *, progress: bool) -> Tensor:
        """All images cut to size: uint8 (N, C, size, size)."""
        transform = EvalTransform.from_spec(spec)
        bar = progress_bar(self.images, title="decoding", unit="image", hidden=not progress)
        return torch.stack([transform(image) for image in bar])


def read_photos(
    source: str | os.PathLike[str],
    *,
    num_classes: int,
    class_names: Sequence[str] | None,
    most: int,
    seed: int,
) -> Photos:
    """The images of an evaluation: class folders, `digits`, or a flat folder without labels.

    Args:
        source: what `--eval` names.
        num_classes: of the network.
        class_names: of the network.
        most: more images than these are left out, by a seeded draw.
        seed: of the draw.

    Raises:
        DataError: if the folder is not there, or its classes are not the network's.
        BadImageError: if a file cannot be read.
    """
    name = os.fspath(source)
    labels: NDArray[np.int64] | None
    folder = Path(name)
    flat = (
        sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_EXTENSIONS) if folder.is_dir() else []
    )
    if flat:
        chosen = _draw(len(flat), most, seed)
        images: list[Image] = [read_image(flat[index]) for index in chosen]
        labels = None
        total = len(flat)
    else:
        data = open_data(name, split="val", classes=resolve_classes(num_classes, class_names))
        if len(data.classes) != num_classes:
            raise ConfigError(
                f"{name} has {len(data.classes)} classes, the network has {num_classes}; "
                "give images of its classes, or a folder of images without class folders"
            )
        chosen = _draw(len(data), most, seed)
        images, labels, total = [data.read(index) for index in chosen], data.labels[chosen], len(data)
    kind = "images without labels" if labels is None else "labelled images"
    part = "" if len(chosen) == total else f", a seeded draw from {total}"
    return Photos(images=images, labels=labels, title=f"{len(chosen)} {kind} of {name}{part}")


def _draw(total: int, most: int, seed: int) -> NDArray[np.int64]:
    if total <= most:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).permutation(total)[:most])


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
        generator = torch.Generator().manual_seed(self.seed)
        shape = (batch_size, spec.in_chans, spec.size, spec.size)
        pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        return self._write("noise", pixels, manifest, spec)

    def photos(self, pixels: Tensor, manifest: Manifest | None, spec: InputSpec) -> Path:
        """Decoded photos, likewise."""
        return self._write("photos", pixels, manifest, spec)

    def _write(self, kind: str, pixels: Tensor, manifest: Manifest | None, spec: InputSpec) -> Path:
        layout = manifest and (manifest.tensor.values, manifest.tensor.layout, manifest.tensor.dtype)
        key = (kind, len(pixels), spec, layout if layout != ("normalized", "NCHW", "float32") else None)
        if key not in self._written:
            path = self.folder / f"{kind}-{len(self._written)}.npy"
            np.save(path, normalized(pixels, spec) if manifest is None else prepare(pixels, manifest))
            self._written[key] = path
        return self._written[key]


def normalized(pixels: Tensor, spec: InputSpec) -> NDArray[np.float32]:
    """float32 (N, C, H, W), as a network of ours takes it."""
    from mobileone.data.pixels import normalize

    array: NDArray[np.float32] = normalize(pixels, spec).contiguous().numpy()
    return array
