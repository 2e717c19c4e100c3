"""From the images of a part to rows of its results: what a network predicts, its vectors, its mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobileone.data.source import labels_task
from mobileone.errors import BadImageError, ConfigError
from mobileone.evaluation.artifact_accuracy import outcomes
from mobileone.evaluation.evaluate import check_classes
from mobileone.inference.ahead import map_ahead
from mobileone.inference.classifier import array_embeddings, array_logits
from mobileone.inference.predictor import Predictor
from mobileone.parts.data_part import PartImages
from mobileone.parts.row_file import Row
from mobileone.variants import check_count

if TYPE_CHECKING:
    from mobileone.data.loader import OnBadImage

View = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How images are read and handed to a network; the results do not depend on it.

    Attributes:
        batch_size: images at a time.
        workers: threads that decode meanwhile.
        on_bad_image: "error" fails the part of an image that cannot be decoded, "skip" gives that a row with
            the reason.

    Raises:
        ConfigError: on values out of range.
    """

    batch_size: int | None = None
    workers: int = 2
    on_bad_image: OnBadImage = "error"

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            check_count(self.batch_size, "batch_size", least=1)
        check_count(self.workers, "workers", least=1)
        if self.on_bad_image not in ("error", "skip"):
            raise ConfigError(f"on_bad_image must be error or skip, got {self.on_bad_image!r}")


def predicted_rows(
    predictor: Predictor, images: PartImages, *, topk: int, reading: Reading
) -> Iterator[Sequence[Row]]:
    """The likeliest classes of each, as `Prediction.to_dict` has them."""
    predictions = predictor.stream(
        map(images.read, range(len(images))),
        topk=topk,
        batch_size=reading.batch_size,
        workers=reading.workers,
        on_bad_image=reading.on_bad_image,
    )
    for name, prediction in zip(images.names, predictions, strict=True):
        yield [replace(prediction, image=name).to_dict()]


def embedded_rows(predictor: Predictor, images: PartImages, *, reading: Reading) -> Iterator[Sequence[Row]]:
    """The vector of each, and its label where images are labelled, or in folders."""
    source, places = images.source, images.places
    single = source is not None and labels_task(source.labels) == "singlelabel"
    for batch in _views(predictor, images, reading):
        good = [view for _, view in batch if not isinstance(view, BadImageError)]
        vectors = iter(array_embeddings(predictor.classifier, np.stack(good)) if good else ())
        rows = []
        for index, view in batch:
            label = images.labels[index] if images.labels else None
            if single and source is not None:
                label = source.classes[int(source.labels[places[index]])]
            bad = isinstance(view, BadImageError)
            rows.append(
                {
                    "image": images.names[index],
                    "label": label,
                    "vector": None if bad else next(vectors).tolist(),
                    "error": str(view) if bad else None,
                }
            )
        yield rows


def judged_rows(predictor: Predictor, images: PartImages, *, reading: Reading) -> Iterator[Sequence[Row]]:
    """What each answer is worth; with several labels an image the logits themselves."""
    source = images.source
    assert source is not None, "what is tested has labels"
    check_classes(predictor.classifier, source)
    for batch in _views(predictor, images, reading):
        good = [(index, view) for index, view in batch if not isinstance(view, BadImageError)]
        rows: list[Row] = [
            {"image": images.names[index], "error": str(view)}
            for index, view in batch
            if isinstance(view, BadImageError)
        ]
        if good:
            logits = array_logits(predictor.classifier, np.stack([view for _, view in good]))
            labels = source.labels[[images.places[index] for index, _ in good]]
            found = (
                _label_rows(logits, labels.astype(bool))
                if labels.ndim == 2
                else _outcome_rows(predictor, logits, labels.astype(np.int64))
            )
            rows += [
                {"image": images.names[index], **row, "error": None}
                for (index, _), row in zip(good, found, strict=True)
            ]
        order = {images.names[index]: place for place, (index, _) in enumerate(batch)}
        yield sorted(rows, key=lambda row: order[row["image"]])


def _outcome_rows(
    predictor: Predictor, logits: NDArray[np.float32], labels: NDArray[np.int64]
) -> Iterator[Row]:
    found = outcomes(logits, labels, predictor.decision)
    for place, label in enumerate(labels):
        yield {
            "label": int(label),
            "predicted": int(found.predicted[place]),
            "place": int(found.places[place]),
            "loss": float(found.losses[place]),
            "sure": bool(found.sure[place]) if predictor.decision is not None else None,
        }


def _label_rows(logits: NDArray[np.float32], labels: NDArray[np.bool_]) -> Iterator[Row]:
    for row, own in zip(logits, labels, strict=True):
        yield {"labels": np.flatnonzero(own).tolist(), "logits": row.tolist()}


def _views(
    predictor: Predictor, images: PartImages, reading: Reading
) -> Iterator[list[tuple[int, View | BadImageError]]]:
    """What the network sees of each, some at a time."""

    def view(index: int) -> tuple[int, View | BadImageError]:
        try:
            return index, predictor.view(images.read(index))
        except BadImageError as error:
            if reading.on_bad_image == "error":
                raise
            return index, error

    size = reading.batch_size or predictor.batch_size
    views = map_ahead(view, range(len(images)), workers=reading.workers, ahead=2 * size)
    while batch := list(islice(views, size)):
        yield batch
