"""Photos as every network sees them, and what PyTorch in float says of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobileone.benchmarking.bench_result import Accuracy
from mobileone.benchmarking.measure import score
from mobileone.benchmarking.subject import BenchSubject
from mobileone.data.photos import Photos, read_photos
from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec
from mobileone.task import task_of

if TYPE_CHECKING:
    from mobileone.model.network import MobileOne

REFERENCE_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Photos as every network sees them, and what PyTorch says of them.

    Attributes:
        photos: the images; None without an evaluation.
        pixels: uint8 (N, height, width, 3), by input spec.
        logits: .npy file of the float logits of PyTorch, by network; none for artifacts alone.
    """

    photos: Photos | None
    pixels: dict[InputSpec, NDArray[np.uint8]]
    logits: dict[str, Path]

    @classmethod
    def of(
        cls,
        subjects: Sequence[BenchSubject],
        data: str | os.PathLike[str] | None,
        *,
        most: int,
        seed: int,
        workspace: Path,
        progress: bool,
    ) -> Evaluation:
        """Read the images that `data` names, cut them for every network, and run PyTorch on them.

        Raises:
            ConfigError: if the networks have different classes.
            DataError: if the images are not there or do not fit.
        """
        if data is None:
            return cls(photos=None, pixels={}, logits={})
        first = subjects[0]
        for subject in subjects[1:]:
            if (subject.num_classes, subject.class_names) != (first.num_classes, first.class_names):
                raise ConfigError(
                    f"{subject.network} and {first.network} have different classes: evaluate one at a time"
                )
        photos = read_photos(
            data,
            num_classes=first.num_classes,
            class_names=first.class_names,
            most=most,
            seed=seed,
            task=task_of(first.model or first.manifest),
        )
        pixels: dict[InputSpec, NDArray[np.uint8]] = {}
        logits: dict[str, Path] = {}
        for subject in subjects:
            if subject.input_spec not in pixels:
                pixels[subject.input_spec] = photos.views(subject.input_spec, progress=progress)
            if subject.model is not None:
                path = workspace / f"reference-{len(logits)}.npy"
                np.save(path, _logits(subject.model, pixels[subject.input_spec]))
                logits[subject.network] = path
        return cls(photos=photos, pixels=pixels, logits=logits)

    def accuracy(self) -> dict[str, Accuracy]:
        """How right PyTorch in float is, by network."""
        labels = self.photos.labels if self.photos else None
        return {
            network: score(np.load(path), labels=labels, reference=path)
            for network, path in self.logits.items()
        }


def _logits(model: MobileOne, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    import torch

    from mobileone.inference.classifier import logits_in_batches
    from mobileone.inference.torch_classifier import TorchClassifier

    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (N, H, W, C) → (N, C, H, W)
    logits = logits_in_batches(TorchClassifier(model), planes, batch_size=REFERENCE_BATCH)
    array: NDArray[np.float32] = logits.numpy()
    return array
