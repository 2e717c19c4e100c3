"""What turns pixels into logits, whatever executes it: a network in PyTorch, or an exported one elsewhere."""

from __future__ import annotations

import os
from typing import Protocol

import torch
from torch import Tensor

from mobileone.backends.artifact import Artifact
from mobileone.backends.table import Precision, backend_of
from mobileone.checkpoint.load import load_model
from mobileone.data.pixels import normalize
from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec
from mobileone.model.network import MobileOne
from mobileone.reparam.fuse import reparameterize


class Classifier(Protocol):
    """`Artifact`, `Network`, or your own.

    Attributes:
        input_spec: how a photo becomes pixels of the right size.
        num_classes: length of the logits.
        class_names: one a class, as the training data's folders are called; None where unknown.
    """

    input_spec: InputSpec
    num_classes: int
    class_names: tuple[str, ...] | None

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits, float32 (N, num_classes) on the CPU, of images cut to size: uint8 (N, C, H, W)."""


class Network:
    """A network in PyTorch.

    Args:
        model: in eval mode; fused where it is not.
        device: where to run it.
    """

    def __init__(self, model: MobileOne, *, device: str | torch.device = "cpu") -> None:
        fused = reparameterize(model) if model.form == "train" else model
        self.model = fused.to(device)
        self.device = torch.device(device)
        self.input_spec = model.input_spec
        self.num_classes = model.num_classes
        self.class_names = model.class_names

    @torch.inference_mode()
    def logits(self, pixels: Tensor) -> Tensor:
        """Logits of pixels."""
        dtype = next(self.model.parameters()).dtype
        batch = normalize(pixels.to(self.device), self.input_spec, dtype=dtype)
        out: Tensor = self.model(batch).float().cpu()
        return out


def load_classifier(
    source: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    threads: int | None = None,
    precision: Precision | None = None,
) -> Network | Artifact:
    """An exported file in its runtime, or anything that `load_model` takes in PyTorch.

    Args:
        source: an artifact (`backend_of` tells by the suffix), or a model.
        device: where PyTorch runs; exported files run on the CPU.
        threads: of an exported file's runtime; None for all usable cores.
        precision: to execute an exported file in; None is the file's.

    Raises:
        ConfigError: on an option that the source does not have.
        ArtifactError, CheckpointError, MissingExtraError: if the source cannot be loaded.
    """
    if backend_of(source) is None:
        given = {"threads": threads, "precision": precision}
        wrong = [name for name, value in given.items() if value is not None]
        if wrong:
            raise ConfigError(f"{source} is no exported file, so {wrong[0]} does not apply to it")
        return Network(load_model(source, form="inference"), device=device or "cpu")
    if device is not None and torch.device(device).type != "cpu":
        raise ConfigError(f"{source} runs on the CPU; drop --device {device}")
    return Artifact(source, threads=threads, precision=precision)
