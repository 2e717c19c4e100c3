"""Accuracy of an exported file, in NumPy: decoding threads ahead of the runtime. No torch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.artifact import Artifact
from mobileone.data.source import ImageSource
from mobileone.decision import Decision
from mobileone.errors import BadImageError, ConfigError, DataError
from mobileone.evaluation.class_metrics import NUM_SUMS, metrics_of_counts
from mobileone.evaluation.label_metrics import label_loss, metrics_of_labels
from mobileone.evaluation.metrics import EvalResult
from mobileone.images.eval_transform import EvalTransform
from mobileone.inference.ahead import map_ahead
from mobileone.inference.classifier import usable_logits
from mobileone.processor import num_cores
from mobileone.progress_bar import progress_bar

if TYPE_CHECKING:
    from mobileone.data.loader import OnBadImage

T = TypeVar("T")


def artifact_accuracy(
    artifact: Artifact,
    source: ImageSource,
    *,
    batch_size: int,
    threads: int | None,
    on_bad_image: OnBadImage,
    progress: bool,
) -> EvalResult:
    """How right an exported file is on every image of a set, as `evaluate` gives with loader processes.

    Args:
        artifact: whose classes are the set's.
        source: the images.
        batch_size: images at a time.
        threads: that decode; None is one a core.
        on_bad_image: "error", or "skip" to leave unreadable images out and list them.
        progress: whether to show a bar on stderr.

    Raises:
        BadImageError: on an unreadable image under "error".
        ConfigError: on values out of range.
        DataError: if no image is readable.
        InferenceError: if a logit is NaN or infinite.
    """
    workers = num_cores() if threads is None else max(threads, 1)
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    if on_bad_image not in ("error", "skip"):
        raise ConfigError(f"on_bad_image must be error or skip, got {on_bad_image!r}")
    started, transform = time.perf_counter(), EvalTransform.from_spec(artifact.input_spec)

    def view(index: int) -> tuple[int, NDArray[np.uint8] | BadImageError]:
        try:
            return index, transform(source.read(index))
        except BadImageError as error:
            return index, error

    num_classes, skipped = artifact.num_classes, []
    sums = np.zeros(NUM_SUMS + 3 * num_classes)
    rows: list[tuple[NDArray[np.bool_], NDArray[np.float32]]] = []  # with several labels an image
    views = map_ahead(view, range(len(source)), workers=workers, ahead=2 * batch_size)
    bar = progress_bar(views, title="evaluating", unit="image", hidden=not progress, total=len(source))
    for batch in _batches(bar, batch_size):
        good = [(index, pixels) for index, pixels in batch if not isinstance(pixels, BadImageError)]
        for index, pixels in batch:
            if isinstance(pixels, BadImageError):
                if on_bad_image == "error":
                    raise pixels
                skipped.append(source.name(index))
        if good:
            indices, pixel_list = zip(*good, strict=True)
            logits = usable_logits(artifact.run(np.stack(pixel_list)), artifact.num_classes)
            labels = source.labels[list(indices)]
            if labels.ndim == 2:
                rows.append((labels.astype(bool), logits))
                sums[0] += len(labels)
            else:
                sums += _sums(logits, labels.astype(np.int64), artifact.decision)
    num_images = int(sums[0])
    if not num_images:
        raise DataError(f"no image could be read, {len(skipped)} are damaged; the first is {skipped[:1]}")
    if rows:
        known, answers = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        decision = artifact.decision
        loss = label_loss(known, answers, decision=decision)
        metrics = metrics_of_labels(known, answers, source.classes, decision=decision)
    else:
        loss, metrics = sums[3] / num_images, metrics_of_counts(sums, source.classes)
    return EvalResult(
        num_images=num_images,
        loss=loss,
        metrics=metrics,
        skipped=tuple(sorted(skipped)),
        seconds=time.perf_counter() - started,
        coverage=None if artifact.decision is None or rows else 100 * sums[4] / num_images,
        accepted_acc1=100 * (sums[5] / sums[4]) if sums[4] else None,
    )


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _sums(
    logits: NDArray[np.float32], labels: NDArray[np.int64], decision: Decision | None = None
) -> NDArray[np.float64]:
    """What `metrics_of_counts` takes, (6 + 3·K,). A row with a NaN is wrong.

    >>> sums = _sums(np.array([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]], np.float32), np.array([0, 2]))
    >>> sums[:6].round(3).tolist(), sums[6:].astype(int).tolist()
    ([2.0, 1.0, 2.0, 2.815, 0.0, 0.0], [1, 0, 1, 1, 0, 0, 2, 0, 0])
    """
    found = outcomes(logits, labels, decision)
    k = min(5, logits.shape[1])
    right = found.places < 1
    counts = [
        np.bincount(chosen, minlength=logits.shape[1]) for chosen in (labels, labels[right], found.predicted)
    ]
    top5, loss = (found.places < k).sum(), found.losses.sum()
    sums = [len(labels), right.sum(), top5, loss, found.sure.sum(), (found.sure & right).sum()]
    return np.concatenate([sums, *counts]).astype(np.float64)


class ImageOutcomes(NamedTuple):
    """What answers are worth, (N,) each.

    Attributes:
        places: of the label among the logits, largest first: 0 is right. Of equal logits the first class
            counts as the larger; a row with a NaN is wrong.
        losses: cross-entropy, nats; of calibrated probabilities where there is a decision.
        predicted: class of the largest logit.
        sure: whether the answer is, by the decision; False without one.
    """

    places: NDArray[np.int64]
    losses: NDArray[np.float64]
    predicted: NDArray[np.int64]
    sure: NDArray[np.bool_]


def outcomes(
    logits: NDArray[np.float32], labels: NDArray[np.int64], decision: Decision | None = None
) -> ImageOutcomes:
    """Of logits (N, K) and the labels, in [0, K), of as many images.

    >>> outcomes(np.array([[2.0, 1.0, 0.0]], np.float32), np.array([1])).places
    array([1])
    """
    rows, sure = logits.astype(np.float64), np.zeros(len(logits), bool)
    if decision is not None:
        rows, sure = decision.calibrated(logits), decision.sure(logits)
    own = rows[np.arange(len(rows)), labels][:, None]
    before = np.arange(rows.shape[1]) < labels[:, None]
    places = ((rows > own) | ((rows == own) & before)).sum(1)
    places[np.isnan(rows).any(1)] = rows.shape[1]
    top = rows.max(1, keepdims=True)
    losses = np.log(np.exp(rows - top).sum(1)) + (top - own)[:, 0]
    return ImageOutcomes(places, losses, rows.argmax(1), sure)
