"""What a network of several labels an image answered for every image of a set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileone.data.loader import OnBadImage
from mobileone.data.source import ImageSource
from mobileone.decision import sigmoid
from mobileone.errors import DataError
from mobileone.evaluation.evaluate import classified
from mobileone.evaluation.label_metrics import metrics_of_labels
from mobileone.evaluation.metric_names import class_metric
from mobileone.inference.classifier import Classifier, usable_logits
from mobileone.model.network import MobileOne


class LabelResult(NamedTuple):
    """How one label fared.

    Attributes:
        label: its index.
        num_images: images that have it.
        num_given: images that it was given to, at a probability of 0.5 or more.
        num_right: images of both.
        ap: average precision, percent; None where no image has it.
    """

    label: int
    num_images: int
    num_given: int
    num_right: int
    ap: float | None

    @property
    def precision(self) -> float | None:
        """Share of right ones among the images it was given to, percent; None if there were none."""
        return 100 * self.num_right / self.num_given if self.num_given else None

    @property
    def recall(self) -> float | None:
        """Share of its images that it was given to, percent; None if there are none."""
        return 100 * self.num_right / self.num_images if self.num_images else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the two, percent; None if no image has it."""
        return 200 * self.num_right / (self.num_images + self.num_given) if self.num_images else None


class LabelMistake(NamedTuple):
    """A label that an image has and was not given, or the other way round.

    Attributes:
        entry: of the image in the answers.
        label: its index.
        was_given: whether it was given.
        probability: of the label.
    """

    entry: int
    label: int
    was_given: bool
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelAnswers:
    """One entry an image, in the order of the set.

    Attributes:
        classes: names of the labels.
        indices: where in the set the image is, int64 (N,).
        labels: which it has, bool (N, K).
        logits: float32 (N, K); a label is given from 0 on, a probability of 0.5.
    """

    classes: tuple[str, ...]
    indices: NDArray[np.int64]
    labels: NDArray[np.bool_]
    logits: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def figures(self) -> dict[str, float]:
        """Percent, by name; as of `EvalResult.metrics`."""
        return metrics_of_labels(self.labels, self.logits, self.classes)

    def results(self) -> list[LabelResult]:
        """Every label, the smallest average precision first; those without images last."""
        figures, given = self.figures, self.logits >= 0
        found = [
            LabelResult(
                label=k,
                num_images=int(self.labels[:, k].sum()),
                num_given=int(given[:, k].sum()),
                num_right=int((given[:, k] & self.labels[:, k]).sum()),
                ap=figures.get(class_metric("ap", name)),
            )
            for k, name in enumerate(self.classes)
        ]
        return sorted(found, key=lambda result: np.inf if result.ap is None else result.ap)

    def mistakes(self) -> list[LabelMistake]:
        """Labels given wrongly or missed, the most certain ones first."""
        given = self.logits >= 0
        entries, labels = np.nonzero(given != self.labels)
        order = np.argsort(-np.abs(self.logits[entries, labels]), kind="stable")
        probabilities = sigmoid(self.logits.astype(np.float64))
        return [
            LabelMistake(entry, label, bool(given[entry, label]), float(probabilities[entry, label]))
            for entry, label in zip(entries[order].tolist(), labels[order].tolist(), strict=True)
        ]


def answer_labels(
    model: MobileOne | Classifier,
    source: ImageSource,
    *,
    batch_size: int = 64,
    num_workers: int | None = 0,
    on_bad_image: OnBadImage = "error",
    progress: bool = True,
) -> LabelAnswers:
    """Classify every image of a set, on the device where the model is.

    The arguments are those of `answer`.

    Raises:
        DataError: if the data's classes are not the model's, or no image is readable.
        InferenceError: if a logit is NaN or infinite.
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
            columns.append((batch.indices, batch.labels > 0.5, logits.float().cpu()))
    if not columns:
        raise DataError("no image could be read, so there is nothing to report")
    indices, labels, rows = (torch.cat(parts).numpy() for parts in zip(*columns, strict=True))
    return LabelAnswers(
        classes=tuple(source.classes),
        indices=indices,
        labels=labels,
        logits=usable_logits(rows, len(source.classes)),
    )
