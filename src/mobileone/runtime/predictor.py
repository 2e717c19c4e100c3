"""Images in, named classes with probabilities out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mobileone.checkpoint.load import load_model
from mobileone.data.augment import EvalTransform
from mobileone.data.decode import Image, read_image
from mobileone.data.imagenet import human_name, resolve_classes
from mobileone.data.loader import normalize
from mobileone.errors import ConfigError
from mobileone.model.network import MobileOne
from mobileone.reparam.fuse import reparameterize

BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class Score:
    """One class of a prediction.

    Attributes:
        index: class index.
        class_name: the class as the training data's folder calls it, a wnid for ImageNet; the index where
            unknown.
        name: the same for people: "tench, Tinca tinca".
        probability: softmax, in [0, 1].
    """

    index: int
    class_name: str
    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The likeliest classes of one image, best first."""

    image: str
    scores: tuple[Score, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class Predictor:
    """A fused network with its pre-processing and class names.

    Args:
        model: in eval mode; fused where it is not.
        device: where to run it.
    """

    def __init__(self, model: MobileOne, *, device: str | torch.device = "cpu") -> None:
        if model.form == "train":
            model = reparameterize(model)
        self.model = model.to(device)
        self.device = torch.device(device)
        self.transform = EvalTransform.from_spec(model.input_spec)
        classes = resolve_classes(model.num_classes, model.class_names)
        self.classes = classes or tuple(str(index) for index in range(model.num_classes))

    @classmethod
    def load(cls, source: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Predictor:
        """From anything `load_model` takes."""
        return cls(load_model(source), device=device)

    @torch.no_grad()
    def probabilities(self, images: Sequence[Image]) -> Tensor:
        """Softmax of every class, float32 (N, num_classes) on the CPU, for one batch of images."""
        dtype = next(self.model.parameters()).dtype
        pixels = torch.stack([self.transform(image) for image in images])
        batch = normalize(pixels.to(self.device), self.model.input_spec, dtype=dtype)
        out: Tensor = self.model(batch).float().softmax(1).cpu()
        return out

    def __call__(
        self, images: Sequence[str | os.PathLike[str] | Image], *, topk: int = 5
    ) -> list[Prediction]:
        """Classify images.

        Args:
            images: paths, file contents or pixels; any number.
            topk: how many classes to name for each; at most all.

        Raises:
            ConfigError: if topk is below 1 or the model has no classifier.
            BadImageError: if a file cannot be decoded.
        """
        if topk < 1:
            raise ConfigError(f"topk must be at least 1, got {topk}")
        if not self.classes:
            raise ConfigError("this model has no classifier (num_classes=0), so it predicts nothing")
        predictions = []
        for start in range(0, len(images), BATCH_SIZE):
            batch = [
                read_image(os.fspath(image)) if isinstance(image, str | os.PathLike) else image
                for image in images[start : start + BATCH_SIZE]
            ]
            best = self.probabilities(batch).topk(min(topk, len(self.classes)))
            for image, values, indices in zip(batch, best.values, best.indices, strict=True):
                scores = zip(indices.tolist(), values.tolist(), strict=True)
                predictions.append(Prediction(image.name, tuple(self._score(*score) for score in scores)))
        return predictions

    def _score(self, index: int, probability: float) -> Score:
        class_name = self.classes[index]
        return Score(index, class_name, human_name(class_name), probability)
