"""What a network learns from beside the labels: any module, a model of ours, or an exported file."""

from __future__ import annotations

import os
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobileone.backends.artifact import Artifact
from mobileone.backends.table import backend_of
from mobileone.checkpoint.load import load_model
from mobileone.errors import ConfigError
from mobileone.imagenet import resolve_classes
from mobileone.inference.classifier import Classifier
from mobileone.inference.torch_classifier import torch_logits
from mobileone.input_spec import InputSpec, sides
from mobileone.model.network import MobileOne
from mobileone.model.wrapped import unwrap
from mobileone.precision import AmpDtype
from mobileone.task import Task
from mobileone.variants import VARIANTS


class Teacher(Protocol):
    """Pixels of the student's batch in, logits out: the same views, mixed or not (arXiv 2106.05237)."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Logits (N, K) on the device of `pixels`, which are uint8 or float32 in 0..255, (N, C, H, W)."""


class ModuleTeacher:
    """A module in eval mode, its weights left alone.

    Args:
        module: takes images (N, C, H, W), normalised, and gives logits (N, K).
        input_spec: gives mean and std.
        device: where to run it; the module is moved there.
        amp: mixed precision, or None.
    """

    def __init__(
        self, module: nn.Module, *, input_spec: InputSpec, device: torch.device, amp: AmpDtype | None = None
    ) -> None:
        self.module = module.to(device).eval()
        self.input_spec, self.amp = input_spec, amp

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Logits, float32."""
        return torch_logits(self.module, pixels, self.input_spec, amp=self.amp)


class FileTeacher:
    """An exported file in its own runtime, on the CPU, or any `Classifier`.

    Its images have one size: those of another are resized. What is mixed is rounded to whole grey levels.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Logits, float32, brought back to the device of `pixels`."""
        size = sides(self.classifier.input_spec.size)
        if tuple(pixels.shape[-2:]) != size:
            pixels = F.interpolate(pixels.float(), size, mode="bilinear", antialias=True)
        if pixels.dtype != torch.uint8:
            pixels = pixels.round().clamp(0, 255).to(torch.uint8)
        return self.classifier.logits(pixels.cpu()).to(pixels.device)


def open_teacher(
    source: str | os.PathLike[str] | nn.Module,
    *,
    classes: tuple[str, ...],
    input_spec: InputSpec,
    device: torch.device,
    amp: AmpDtype | None = None,
    task: Task = "singlelabel",
) -> Teacher:
    """A teacher that is known to have the student's classes.

    Args:
        source: an exported file, anything `load_model` reads, or a module; a module without an `input_spec`
            of its own gets the student's images as the student does.
        classes: the student's.
        input_spec: the student's.
        device: where the student trains.
        amp: mixed precision, or None.
        task: the student's; a module that does not say its own is taken to have the same.

    Raises:
        ConfigError: if the teacher has another task, other classes, or is no classifier of such images.
        CheckpointError, ArtifactError, MissingExtraError: if it cannot be loaded.
    """
    name = type(source).__name__ if isinstance(source, nn.Module) else os.fspath(source)
    teacher: Teacher
    known: tuple[str, ...] | None = None
    own_task = task
    if not isinstance(source, nn.Module) and backend_of(source) is not None:
        artifact = Artifact(source, threads=torch.get_num_threads())  # a rank's share of the machine
        teacher = FileTeacher(artifact)
        known, own_task = resolve_classes(artifact.num_classes, artifact.class_names), artifact.task
    elif source in VARIANTS:
        raise ConfigError(
            f"the teacher {name} is a variant without weights; take weights, {name}.apple_in1k say"
        )
    else:
        module = source if isinstance(source, nn.Module) else load_model(source, form="inference")
        network = unwrap(module)
        own = getattr(network, "input_spec", None)
        teacher = ModuleTeacher(
            module, input_spec=own if isinstance(own, InputSpec) else input_spec, device=device, amp=amp
        )
        if isinstance(network, MobileOne):
            known = resolve_classes(network.num_classes, network.class_names)
            own_task = network.task
    if own_task != task:
        raise ConfigError(f"the teacher {name} is of task={own_task}, the student of task={task}")
    _check(teacher, name, classes=classes, known=known, size=sides(input_spec.size), device=device)
    return teacher


def _check(
    teacher: Teacher,
    name: str,
    *,
    classes: tuple[str, ...],
    known: tuple[str, ...] | None,
    size: tuple[int, int],
    device: torch.device,
) -> None:
    """Refuse, before the first step, a teacher whose logits mean something else."""
    try:
        logits = teacher(torch.zeros(2, 3, *size, dtype=torch.uint8, device=device))
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"the teacher {name} cannot take images of 3×{size[0]}×{size[1]}: {reason}"
        ) from error
    if logits.ndim != 2 or logits.shape[1] != len(classes):
        raise ConfigError(
            f"the teacher {name} gives {'×'.join(map(str, logits.shape[1:]))} logits, the data has "
            f"{len(classes)} classes; take a teacher trained on these classes"
        )
    if known is not None and known != classes:
        first = next(i for i, (a, b) in enumerate(zip(known, classes, strict=True)) if a != b)
        raise ConfigError(
            f"the teacher {name} has other classes than the data: class {first} is {known[first]!r}, not "
            f"{classes[first]!r}; take a teacher trained on these classes"
        )
