"""What a network answered for every image of a set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileone.data.loader import OnBadImage
from mobileone.data.source import ImageSource
from mobileone.errors import DataError, InferenceError
from mobileone.evaluation.class_metrics import metrics_of_counts
from mobileone.evaluation.confusion import Counts, confusion_matrix
from mobileone.evaluation.evaluate import classified
from mobileone.evaluation.metrics import in_topk
from mobileone.inference.classifier import Classifier
from mobileone.model.network import MobileOne


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """One entry an image, in the order of the set.

    Attributes:
        classes: what labels and predictions index into.
        indices: where in the set the image is, int64 (N,).
        labels: int64 (N,).
        predictions: class of the largest logit, int64 (N,).
        probabilities: softmax of that class, float32 (N,).
        in_top5: whether the label is among the five largest logits, bool (N,).
    """

    classes: tuple[str, ...]
    indices: Counts
    labels: Counts
    predictions: Counts
    probabilities: NDArray[np.float32]
    in_top5: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def acc1(self) -> float:
        """Top-1, percent."""
        return 100 * float((self.labels == self.predictions).mean())

    @property
    def acc5(self) -> float:
        """Top-5, percent."""
        return 100 * float(self.in_top5.mean())

    @property
    def figures(self) -> dict[str, float]:
        """Percent, by name; as of `EvalResult.metrics`."""
        matrix = self.confusion()
        sums = [len(self), matrix.trace(), self.in_top5.sum(), 0.0, 0.0, 0.0]
        counts = np.concatenate([sums, matrix.sum(1), matrix.diagonal(), matrix.sum(0)])
        return metrics_of_counts(counts, self.classes)

    def confusion(self) -> Counts:
        """Images by label and prediction, (K, K)."""
        return confusion_matrix(self.labels, self.predictions, len(self.classes))

    def mistakes(self) -> list[int]:
        """Entries that are wrong, the most certain ones first."""
        wrong = np.flatnonzero(self.labels != self.predictions)
        return [int(entry) for entry in wrong[np.argsort(-self.probabilities[wrong], kind="stable")]]


def answer(
    model: MobileOne | Classifier,
    source: ImageSource,
    *,
    batch_size: int = 64,
    num_workers: int | None = 0,
    on_bad_image: OnBadImage = "error",
    progress: bool = True,
) -> Answers:
    """Classify every image of a set, on the device where the model is.

    Args:
        model: a network in either form, put into eval mode meanwhile; or any `Classifier`.
        source: the images.
        batch_size: images at a time.
        num_workers: loader processes; None is one for each core, 8 at most.
        on_bad_image: `"error"`, or `"skip"` to leave unreadable images out.
        progress: whether to show a bar on stderr.

    Raises:
        DataError: if the data's classes are not the model's, or no image is readable.
    """
    columns: list[tuple[Tensor, ...]] = []
    for batch, logits in classified(
        model,
        source,
        batch_size=batch_size,
        num_workers=num_workers,
        on_bad_image=on_bad_image,
        hidden=not progress,
    ):
        if len(batch):
            columns.append((batch.indices, batch.labels, *_answers_of(logits, batch.labels)))
    if not columns:
        raise DataError("no image could be read, so there is nothing to report")
    indices, labels, predictions, probabilities, in_top5 = (
        torch.cat(parts).numpy() for parts in zip(*columns, strict=True)
    )
    if not np.isfinite(probabilities).all():
        raise InferenceError(
            "the network gives NaN or infinite logits; its weights or its precision are no use"
        )
    return Answers(
        classes=tuple(source.classes),
        indices=indices,
        labels=labels,
        predictions=predictions,
        probabilities=probabilities,
        in_top5=in_top5,
    )


def _answers_of(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    probabilities, predictions = logits.softmax(1).cpu().max(1)
    return predictions, probabilities, in_topk(logits, labels.to(logits.device), (5,))[0].cpu()
