"""What turns pixels into logits, whatever executes it: a network in PyTorch, or an exported one elsewhere."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.artifact import Artifact, refuse_features
from mobileone.backends.manifest import read_manifest
from mobileone.backends.table import Precision, backend_of
from mobileone.decision import Decision
from mobileone.distribution import needing_pytorch
from mobileone.errors import ConfigError, InferenceError, MobileOneWarning
from mobileone.imagenet import resolve_classes
from mobileone.input_spec import InputSpec, Size

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mobileone.inference.torch_classifier import TorchClassifier
    from mobileone.model.network import MobileOne
    from mobileone.precision import AmpDtype


@runtime_checkable
class Classifier(Protocol):
    """`Artifact`, `TorchClassifier`, or your own.

    Attributes:
        input_spec: how a photo becomes pixels of the right size.
        num_classes: length of the logits.
        class_names: one a class, as the training data's folders are called; None where unknown.
    """

    input_spec: InputSpec
    num_classes: int
    class_names: tuple[str, ...] | None

    @property
    def device(self) -> torch.device:
        """Where logits come out."""

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits, float32 (N, num_classes), of images cut to size: uint8 (N, C, H, W) on the CPU."""


def as_classifier(
    model: MobileOne | Classifier,
    *,
    device: str | torch.device | None = None,
    amp: AmpDtype | None = None,
    fuse: bool = False,
) -> Classifier:
    """A classifier as it is; a network of ours, in either form, as one.

    Args:
        model: either; what DataParallel, DistributedDataParallel, torch.compile and AveragedModel wrap is
            taken out.
        device: where a network computes: it is moved there. None is where it is.
        amp: a network's mixed precision, or None.
        fuse: bring a network with branches into inference form, as a copy; it must be in eval mode.

    Raises:
        ConfigError: if it is neither, an exported file of feature maps, or there is no such device.
        ReparameterizeError: with `fuse`, if the network is in training mode or cannot be fused exactly.
    """
    # Artifacts first: an object is a `Classifier` if it has a device, and asking an artifact's loads torch.
    if isinstance(model, Artifact):
        refuse_features(model.manifest)
        return model
    if isinstance(model, Classifier):
        return model
    with needing_pytorch("a network that is no exported file"):
        from mobileone.inference.torch_classifier import TorchClassifier
        from mobileone.model.wrapped import as_network

    network = as_network(
        model,
        wanted="a model is a MobileOne, or an object with input_spec, num_classes, class_names, device and "
        "logits(pixels)",
    )
    return TorchClassifier(network, device=device, amp=amp, fuse=fuse)


@contextmanager
def classifying(
    model: MobileOne | Classifier,
    *,
    device: str | torch.device | None = None,
    amp: AmpDtype | None = None,
) -> Iterator[Classifier]:
    """The same for a while, in which a network is in eval mode; afterwards it is in the mode it was in."""
    classifier = as_classifier(model, device=device, amp=amp)
    if isinstance(model, Classifier):
        yield classifier
        return
    was_training = model.training
    model.eval()
    try:
        yield classifier
    finally:
        model.train(was_training)


def array_logits(classifier: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits, float32 (N, num_classes), of uint8 (N, H, W, C); an exported file's without torch.

    Raises:
        InferenceError: if they have another shape, or one is NaN or infinite.
    """
    if isinstance(classifier, Artifact):
        return usable_logits(classifier.run(pixels), classifier.num_classes)
    import torch

    logits = classifier.logits(torch.from_numpy(pixels).permute(0, 3, 1, 2))  # (N, H, W, C) → (N, C, H, W)
    return usable_logits(logits.float().cpu().numpy(), classifier.num_classes)


def array_embeddings(classifier: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pooled features, float32 (N, num_features), of uint8 (N, H, W, C): what the linear layer reads.

    Raises:
        ConfigError: if the classifier gives logits alone, as files of networks with classes do.
        InferenceError: if a feature is NaN or infinite.
    """
    if not classifier.num_classes:
        if isinstance(classifier, Artifact):
            return usable_logits(classifier.run(pixels), classifier.manifest.num_outputs)
        compute = classifier.logits
    elif hasattr(classifier, "embeddings"):
        compute = classifier.embeddings
    else:
        raise ConfigError(
            "this model gives logits, no embeddings; export it without its classifier (num_classes=0), or "
            "take the network in PyTorch"
        )
    import torch

    features = compute(torch.from_numpy(pixels).permute(0, 3, 1, 2)).float().cpu().numpy()
    return usable_logits(features, features.shape[-1])


def usable_logits(logits: NDArray[np.float32], num_classes: int) -> NDArray[np.float32]:
    """Logits as they are, if they can be an answer.

    Raises:
        InferenceError: if they are not (N, num_classes), or one is NaN or infinite.

    >>> usable_logits(np.zeros((1, 2), np.float32), 2).shape
    (1, 2)
    """
    if logits.ndim != 2 or logits.shape[1] != num_classes:
        raise InferenceError(
            f"the network gives {logits.shape} where (N, {num_classes}) was expected; give it a head that "
            "ends in a linear layer of as many outputs as there are classes"
        )
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits).all(axis=1)).sum())
        raise InferenceError(
            f"the network gives NaN or infinite logits for {bad} of {len(logits)} images; its weights, or "
            "the precision that it computes in, are no use"
        )
    return logits


def logits_in_batches(classifier: Classifier, pixels: Tensor, *, batch_size: int = 50) -> Tensor:
    """Logits, float32 (N, num_classes), of any number of images, so many at a time."""
    import torch

    return torch.cat([classifier.logits(part) for part in torch.split(pixels, batch_size)])


def load_classifier(
    source: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    threads: int | None = None,
    precision: Precision | None = None,
    input_size: Size | None = None,
    crop: float | None = None,
    exif: bool | None = None,
    class_names: Sequence[str] | None = None,
    weights_key: str | None = None,
) -> TorchClassifier | Artifact:
    """An exported file in its runtime, or anything that `load_model` takes in PyTorch, fused.

    Args:
        source: an artifact (`backend_of` tells by the suffix), or a model.
        device: where it runs; None is the CPU, which is all that most exported files' runtimes have.
        threads: of an exported file's runtime; None for all usable cores.
        precision: to execute in; None is the file's, of a network in PyTorch its weights'.
        input_size: side of a square input, or (height, width), pixels; None is the source's, as for the rest.
        crop: share of the resized image that the centre crop keeps.
        exif: whether photos are turned as their EXIF orientation says.
        class_names: one an output, in their order.
        weights_key: which weights of a checkpoint that has several, as of `load_model`.

    Raises:
        ConfigError: on more or fewer class names than outputs, or an option that the source does not have.
        ArtifactError, CheckpointError, MissingExtraError: if the source cannot be loaded.
    """
    if backend_of(source) is not None:
        if weights_key is not None:
            raise ConfigError(f"{source} is an exported file, so weights_key does not apply to it")
        if input_size is not None:
            raise ConfigError(f"{source} is exported for one size; export it with another input_size instead")
        manifest = read_manifest(source)
        refuse_features(manifest)
        artifact = Artifact(
            source,
            threads=threads,
            precision=precision,
            device=str(device or "cpu"),
            manifest=manifest,
        )
        artifact.input_spec = _changed(artifact.input_spec, crop=crop, exif=exif)
        if artifact.input_spec.crop != manifest.input_spec.crop:
            _drop_decision(artifact)
        if class_names is not None:
            artifact.class_names = resolve_classes(artifact.num_classes, class_names)
        return artifact
    if threads is not None:
        raise ConfigError(f"{source} is no exported file, so threads does not apply to it")
    if precision == "int8":
        raise ConfigError(f"{source} is no exported file, so it runs in fp32, bf16 or fp16, not in int8")
    amp: AmpDtype | None = precision if precision in ("bf16", "fp16") else None
    with needing_pytorch(f"{source}, which is no exported file,"):
        from mobileone.checkpoint.load import load_model
        from mobileone.inference.torch_classifier import TorchClassifier

    model = load_model(source, form="inference", weights_key=weights_key)
    classifier = TorchClassifier(model, device="cpu" if device is None else device, amp=amp)
    classifier.input_spec = _changed(classifier.input_spec, size=input_size, crop=crop, exif=exif)
    if replace(classifier.input_spec, exif=model.input_spec.exif) != model.input_spec:
        _drop_decision(classifier)
    if class_names is not None:
        classifier.class_names = resolve_classes(classifier.num_classes, class_names)
    return classifier


def _drop_decision(classifier: TorchClassifier | Artifact) -> None:
    """What was fitted behind another pre-processing is no use."""
    if classifier.decision is not None:
        classifier.decision = None
        warnings.warn(
            "this model was calibrated with its own input size and crop; with others its probabilities are "
            "not calibrated and no answer is refused",
            MobileOneWarning,
            stacklevel=3,
        )


def decision_of(model: MobileOne | Classifier) -> Decision | None:
    """How its logits become an answer; None where nobody said, and for a classifier of somebody's own."""
    decision: Decision | None = getattr(model, "decision", None)
    return decision


def _changed(spec: InputSpec, **values: Any) -> InputSpec:
    """With the values that are not None."""
    return replace(spec, **{name: value for name, value in values.items() if value is not None})
