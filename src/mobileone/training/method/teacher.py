"""What a network learns from beside the labels: any module, a model of ours, or an exported file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobileone.backends.artifact import Artifact
from mobileone.backends.table import backend_of
from mobileone.checkpoint.load import load_model
from mobileone.errors import ConfigError
from mobileone.imagenet import human_name, resolve_classes
from mobileone.inference.torch_classifier import torch_logits
from mobileone.input_spec import InputSpec, Size, sides, size_text
from mobileone.model.network import MobileOne
from mobileone.model.wrapped import unwrap
from mobileone.outside_text import printable
from mobileone.precision import AmpDtype
from mobileone.task import Task
from mobileone.training.method.taught import Taught, features_of, last_linear
from mobileone.variants import VARIANTS

NAMED_CLASSES = 10  # of those that a teacher lacks, in the message


class Teacher(Protocol):
    """Pixels in, logits of the student's classes out (arXiv 2106.05237), with features where wanted."""

    def __call__(self, pixels: Tensor) -> Taught:
        """What it says, on the device of `pixels`, which are uint8 or float32 in 0..255, (N, C, H, W)."""


class SourceTeacher(Teacher, Protocol):
    """A teacher that knows what it is."""

    @property
    def input_spec(self) -> InputSpec:
        """How it sees an image in evaluation."""

    @property
    def num_features(self) -> int | None:
        """Of those that it says of an image; None if it does not."""

    def digest(self) -> str:
        """A hash of all that its logits depend on."""


class ModuleTeacher:
    """A module in eval mode, its weights left alone.

    Args:
        module: takes images (N, C, H, W), normalised, and gives logits (N, K).
        input_spec: gives mean and std, and the rest where it sees images as in evaluation.
        device: where to run it; the module is moved there.
        amp: mixed precision, or None.
        features: whether it says them too.

    Raises:
        ConfigError: if features are wanted of a module without a linear layer.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        input_spec: InputSpec,
        device: torch.device,
        amp: AmpDtype | None = None,
        features: bool = False,
    ) -> None:
        self.module = module.to(device).eval()
        self.input_spec, self.amp = input_spec, amp
        self.num_features = last_linear(module).in_features if features else None

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Taught:
        """Logits and features, float32."""
        if self.num_features is None:
            return Taught(torch_logits(self.module, pixels, self.input_spec, amp=self.amp))
        with features_of(self.module) as features:
            logits = torch_logits(self.module, pixels, self.input_spec, amp=self.amp)
        return Taught(logits, features[0].float())

    def digest(self) -> str:
        """Of the weights by name, the kind of the module, and the input spec."""
        found = hashlib.sha256(f"{type(self.module).__qualname__} {self.input_spec}\n".encode())
        for name, value in self.module.state_dict().items():
            found.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
            found.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
        return found.hexdigest()


class FileTeacher:
    """An exported file in its own runtime, on the CPU.

    Its images have one size: those of another are resized. What is mixed is rounded to whole grey levels.
    """

    num_features = None

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.input_spec = artifact.input_spec

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Taught:
        """Logits, float32, brought back to the device of `pixels`."""
        size = sides(self.input_spec.size)
        if tuple(pixels.shape[-2:]) != size:
            pixels = F.interpolate(pixels.float(), size, mode="bilinear", antialias=True)
        if pixels.dtype != torch.uint8:
            pixels = pixels.round().clamp(0, 255).to(torch.uint8)
        return Taught(self.artifact.logits(pixels.cpu()).to(pixels.device))

    def digest(self) -> str:
        """Of the hashes in its manifest, and the input spec."""
        files = " ".join(file.sha256 for file in self.artifact.manifest.files)
        return hashlib.sha256(f"{files} {self.input_spec}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class PickedTeacher:
    """A teacher of more classes than the student's, or in another order.

    Attributes:
        teacher: of all of them.
        places: where in its logits the student's classes are, int64 (K,), on its device.
    """

    teacher: SourceTeacher
    places: Tensor

    @property
    def input_spec(self) -> InputSpec:
        """The teacher's."""
        return self.teacher.input_spec

    @property
    def num_features(self) -> int | None:
        """The teacher's."""
        return self.teacher.num_features

    def __call__(self, pixels: Tensor) -> Taught:
        """The teacher's logits of the student's classes, and its features."""
        taught = self.teacher(pixels)
        return Taught(taught.logits[:, self.places], taught.features)

    def digest(self) -> str:
        """Of the teacher, and of which classes these are."""
        return hashlib.sha256(f"{self.teacher.digest()} {self.places.tolist()}".encode()).hexdigest()


class _Opened(NamedTuple):
    """A teacher, what its logits are called as far as that is known, and what they mean."""

    teacher: SourceTeacher
    names: tuple[str, ...] | None
    task: Task


def open_teacher(
    source: str | os.PathLike[str] | nn.Module,
    *,
    classes: tuple[str, ...],
    input_spec: InputSpec,
    device: torch.device,
    amp: AmpDtype | None = None,
    task: Task = "singlelabel",
    looks_once: bool = False,
    size: Size | None = None,
    features: bool = False,
) -> SourceTeacher:
    """A teacher that is known to give logits of the student's classes, in their order.

    A teacher that has more classes than the student gives the logits of the student's: of those that have the
    same name, or are the same synset of ImageNet.

    Args:
        source: an exported file, anything `load_model` reads, or a module; a module without an `input_spec`
            of its own gets the student's images as the student does, one without `class_names` is taken to
            have the student's classes, or with 1000 logits ImageNet's.
        classes: the student's.
        input_spec: the student's.
        device: where the student trains.
        amp: mixed precision, or None.
        task: the student's; a module that does not say its own is taken to have the same.
        looks_once: whether it will see images as in its own evaluation, not the student's.
        size: of these, pixels; None is its own.
        features: whether it is to say its features too.

    Raises:
        ConfigError: if the teacher has another task, lacks a class, is no classifier of such images, or lacks
            the features that are wanted.
        CheckpointError, ArtifactError, MissingExtraError: if it cannot be loaded.
    """
    name = type(source).__name__ if isinstance(source, nn.Module) else os.fspath(source)
    if not isinstance(source, nn.Module) and backend_of(source) is not None:
        if features:
            raise ConfigError(
                f"the teacher {name} is an exported file, which gives logits alone; set distill.features=0, "
                "or take the model that it was exported from"
            )
        opened = _opened_file(source, size=size)
    elif source in VARIANTS:
        raise ConfigError(
            f"the teacher {name} is a variant without weights; take weights, {name}.apple_in1k say"
        )
    else:
        module = source if isinstance(source, nn.Module) else load_model(source, form="inference")
        network = unwrap(module)
        own = getattr(network, "input_spec", None)
        spec = own if isinstance(own, InputSpec) else input_spec
        if size is not None:
            spec = replace(spec, size=size)
        given = getattr(network, "class_names", None)
        names = None if given is None else tuple(map(str, given))
        if isinstance(network, MobileOne):
            names = resolve_classes(network.num_classes, names)
        opened = _Opened(
            ModuleTeacher(module, input_spec=spec, device=device, amp=amp, features=features),
            names,
            network.task if isinstance(network, MobileOne) else task,
        )
    if opened.task != task:
        raise ConfigError(f"the teacher {name} is of task={opened.task}, the student of task={task}")
    teacher = opened.teacher
    seen = sides(teacher.input_spec.size if looks_once else input_spec.size)
    num_logits = _num_logits(teacher, name, size=seen, device=device)
    places = _places(classes, opened.names, num_logits, name)
    if places == list(range(num_logits)):
        return teacher
    return PickedTeacher(teacher, torch.tensor(places, device=device))


def _opened_file(source: str | os.PathLike[str], *, size: Size | None) -> _Opened:
    artifact = Artifact(source, threads=torch.get_num_threads())  # a rank's share of the machine
    own = artifact.input_spec.size
    if size is not None and size != own:
        raise ConfigError(
            f"the teacher {os.fspath(source)} is exported for {size_text(own)} px, so distill.size="
            f"{size_text(size)} does not fit it; leave it out, or export it with that input_size"
        )
    names = resolve_classes(artifact.num_classes, artifact.class_names)
    return _Opened(FileTeacher(artifact), names, artifact.task)


def _num_logits(teacher: Teacher, name: str, *, size: tuple[int, int], device: torch.device) -> int:
    """How many logits an image gets, by trying it before the first step."""
    try:
        logits = teacher(torch.zeros(2, 3, *size, dtype=torch.uint8, device=device)).logits
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"the teacher {name} cannot take images of 3×{size[0]}×{size[1]}: {reason}"
        ) from error
    if logits.ndim != 2:
        raise ConfigError(
            f"the teacher {name} gives {'×'.join(map(str, logits.shape[1:]))} logits, not one a class; take "
            "a classifier"
        )
    return logits.shape[1]


def _places(
    classes: Sequence[str], names: tuple[str, ...] | None, num_logits: int, teacher: str
) -> list[int]:
    """Where in the teacher's logits the student's classes are.

    Raises:
        ConfigError: if one is not there, or nobody knows.
    """
    if names is None and num_logits == len(classes):
        return list(range(num_logits))
    known = resolve_classes(num_logits, names)
    if known is None:
        raise ConfigError(
            f"the teacher {teacher} gives {num_logits} logits, the data has {len(classes)} classes, and the "
            "teacher does not name its own; take one with class names, or trained on these classes"
        )
    if known == tuple(classes):
        return list(range(num_logits))
    place = {name: index for index, name in enumerate(known)}
    in_words: dict[str, list[int]] = {}  # some of ImageNet's synsets are called alike
    for index, name in enumerate(known):
        in_words.setdefault(human_name(name), []).append(index)
    found = {}
    for name in classes:
        alike = in_words.get(human_name(name), [])
        if name in place or len(alike) == 1:
            found[name] = place[name] if name in place else alike[0]
    missing = [repr(printable(name)) for name in classes if name not in found]
    if missing:
        more = f" and {len(missing) - NAMED_CLASSES} more" if len(missing) > NAMED_CLASSES else ""
        raise ConfigError(
            f"the teacher {teacher} lacks {len(missing)} of the data's {len(classes)} classes: "
            f"{', '.join(missing[:NAMED_CLASSES])}{more}; it has {len(known)}, {printable(known[0])!r} to "
            f"{printable(known[-1])!r}; take a teacher that has them under these names"
        )
    return [found[name] for name in classes]
