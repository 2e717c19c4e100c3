"""Images in, named classes with probabilities out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.artifact import Artifact
from mobileone.backends.table import Precision
from mobileone.decision import Decision, Doubt
from mobileone.errors import BadImageError, ConfigError
from mobileone.imagenet import human_name, resolve_classes
from mobileone.images.any_image import AnyImage, as_image, name_of
from mobileone.images.eval_transform import EvalTransform
from mobileone.inference.ahead import map_ahead
from mobileone.inference.classifier import (
    Classifier,
    array_embeddings,
    array_logits,
    as_classifier,
    decision_of,
    load_classifier,
)
from mobileone.input_spec import Size, sides
from mobileone.task import task_of
from mobileone.variants import check_count

if TYPE_CHECKING:
    import torch

    from mobileone.data.loader import OnBadImage
    from mobileone.model.network import MobileOne

BATCH_SIZE = 32
"""Images classified at a time by a network in PyTorch."""
ARTIFACT_BATCH_SIZE = 8
"""By an exported file: few, as they wait in memory; more than one, as each turn between threads costs."""

LABEL_THRESHOLD = 0.5
"""Probability from which on a label is one of a multi-label network's image, unless it is told another."""


@dataclass(frozen=True, slots=True)
class Score:
    """One class of a prediction.

    Attributes:
        index: class index.
        class_name: the class as the training data's folder calls it, a wnid for ImageNet; the index where
            unknown.
        name: the same for people: "tench, Tinca tinca".
        probability: softmax over the classes, or with several labels an image a sigmoid each, in [0, 1];
            calibrated where the model is (`mobileone calibrate`).
    """

    index: int
    class_name: str
    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The likeliest classes of one image, best first; none where the image was skipped.

    Attributes:
        image: its path as it is, or "image" for pixels; `error` shows it escaped.
        scores: the classes.
        error: why the image could not be read, where it was skipped.
        labels: of a multi-label network, class names of every label that reaches its threshold, the likeliest
            first, however many `scores` there are; None of another network, or where the image was skipped.
        sure: whether the likeliest class is likely enough, and the image like those that the model knows;
            None where the model was not calibrated, or the image skipped.
        doubt: why it is not: `unlikely`, the probability is below the threshold; or `novel`, the image.
    """

    image: str
    scores: tuple[Score, ...]
    error: str | None = None
    labels: tuple[str, ...] | None = None
    sure: bool | None = None
    doubt: Doubt | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class Predictor:
    """A network with its pre-processing and class names; one without classifier (num_classes=0) only embeds.

    Args:
        model: a network of ours, in eval mode (fused where it is not), or any `Classifier`: an `Artifact`.
        device: where a network of ours runs.
        exif: whether photos are turned as their EXIF orientation says; None is as the model says.
        scaled_decoding: decode large JPEGs at a part of their size, as of `EvalTransform`.
        threshold: probability from which on a label is one of a multi-label network's image, in [0, 1]; None
            is 0.5.

    Attributes:
        classifier: what computes.
        task: `"singlelabel"`, or `"multilabel"`: every class has a probability of its own.
        input_spec: how a photo becomes what it computes on.
        classes: name of every class, its index where unknown.
        decision: how logits become probabilities and a sure answer; None where the model has none.

    Raises:
        ConfigError, ReparameterizeError: as `as_classifier`.
        ConfigError: on a threshold out of range, or for a network of one class an image.
    """

    def __init__(
        self,
        model: MobileOne | Classifier,
        *,
        device: str | torch.device = "cpu",
        exif: bool | None = None,
        scaled_decoding: bool = False,
        threshold: float | None = None,
    ) -> None:
        self.classifier = as_classifier(model, device=device, fuse=True)
        self.task = task_of(self.classifier)
        if threshold is not None and self.task == "singlelabel":
            raise ConfigError(
                f"threshold={threshold} is for multi-label networks; this has one class an image"
            )
        if threshold is not None and not 0 <= threshold <= 1:
            raise ConfigError(f"threshold must be in [0, 1], got {threshold}")
        num_classes = self.classifier.num_classes
        self.decision = decision_of(self.classifier)
        own_thresholds = (LABEL_THRESHOLD,) if self.decision is None else self.decision.thresholds
        self.thresholds = np.broadcast_to(own_thresholds if threshold is None else threshold, num_classes)
        own = self.classifier.input_spec
        self.input_spec = own if exif is None else replace(own, exif=exif)
        self.transform = replace(EvalTransform.from_spec(self.input_spec), scaled_decoding=scaled_decoding)
        classes = resolve_classes(num_classes, self.classifier.class_names)
        self.classes = classes or tuple(str(index) for index in range(num_classes))

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        threads: int | None = None,
        precision: Precision | None = None,
        input_size: Size | None = None,
        exif: bool | None = None,
        class_names: Sequence[str] | None = None,
        weights_key: str | None = None,
        scaled_decoding: bool = False,
        threshold: float | None = None,
    ) -> Predictor:
        """From an exported file of any format, or from anything `load_model` takes.

        Args:
            source: exported files are known by their suffix, and need their manifest beside them.
            device: where a network in PyTorch runs; None is the CPU.
            threads: of an exported file's runtime; None for all usable cores.
            precision: to execute an exported file in; None is the file's.
            input_size: of a network in PyTorch: side of a square, or (height, width), pixels; None: its own.
            exif: whether photos are turned as their EXIF orientation says; None is as the source says.
            class_names: one an output, in their order; None is the source's.
            weights_key: which weights of a checkpoint that has several, as of `load_model`.
            scaled_decoding: decode large JPEGs at a part of their size, as of `EvalTransform`.
            threshold: from which on a label is one of the image, of a multi-label network; None is what the
                model was calibrated to, or 0.5.
        """
        classifier = load_classifier(
            source,
            device=device,
            threads=threads,
            precision=precision,
            input_size=input_size,
            exif=exif,
            class_names=class_names,
            weights_key=weights_key,
        )
        return cls(classifier, scaled_decoding=scaled_decoding, threshold=threshold)

    def probabilities(self, images: Sequence[AnyImage]) -> NDArray[np.float32]:
        """Probability of every class, float32 (N, num_classes), for one batch of images."""
        self._require_classes()
        return self.probabilities_of([self.view(image) for image in images])

    def _require_classes(self) -> None:
        if not self.classes:
            raise ConfigError(
                "this model has no classifier (num_classes=0), so it predicts nothing; use embed"
            )

    def embed(
        self, images: Iterable[AnyImage], *, batch_size: int = BATCH_SIZE, workers: int = 2
    ) -> NDArray[np.float32]:
        """Pooled features of images, what the last linear layer reads: for search, clustering and the like.

        Args:
            images: read as they are needed.
            batch_size: images at a time.
            workers: threads that decode.

        Returns:
            float32 (N, num_features), in the order of the images; not normalised.

        Raises:
            ConfigError: on values out of range, or an exported file of a network with a classifier: export it
                with num_classes=0.
            BadImageError: if an image cannot be decoded.
        """
        _check_counts(batch_size=batch_size, workers=workers)
        decode = lambda image: self.transform(as_image(image))  # noqa: E731
        views = map_ahead(decode, images, workers=workers, ahead=2 * batch_size)
        parts = []
        while batch := list(islice(views, batch_size)):
            parts.append(array_embeddings(self.classifier, np.stack(batch)))
        if not parts:  # a picture tells how long an embedding is
            spec = self.input_spec
            black = np.zeros((1, *sides(spec.size), spec.in_chans), np.uint8)
            return array_embeddings(self.classifier, black)[:0]
        return np.concatenate(parts)

    def view(self, image: AnyImage) -> NDArray[np.uint8]:
        """What the network sees of an image, uint8 (H, W, 3): the first half of a prediction.

        Raises:
            BadImageError: if it cannot be decoded.
        """
        return self.transform(as_image(image))

    def probabilities_of(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Probability of every class, float32 (N, num_classes), of one view or more: the second half."""
        return np.stack([row for row, _ in self.answers_of(views)])

    def answers_of(
        self, views: Sequence[NDArray[np.uint8]]
    ) -> list[tuple[NDArray[np.float32], Doubt | None]]:
        """The same row by row (num_classes,), each with its doubt; without a decision there is none."""
        batch = views[0][None] if len(views) == 1 else np.stack(views)
        logits = array_logits(self.classifier, batch)
        decision = self.decision or Decision()
        rows = decision.probabilities(logits, task=self.task).astype(np.float32)
        return list(zip(rows, decision.doubts(logits, task=self.task), strict=True))

    @overload
    def __call__(self, images: AnyImage, *, topk: int = 5) -> Prediction: ...

    @overload
    def __call__(self, images: list[Any] | tuple[Any, ...], *, topk: int = 5) -> list[Prediction]: ...

    def __call__(
        self, images: AnyImage | list[Any] | tuple[Any, ...], *, topk: int = 5
    ) -> Prediction | list[Prediction]:
        """Classify one image or several.

        Args:
            images: one, or a list of any length.
            topk: how many classes to name for each; at most all.

        Returns:
            A prediction for one image, a list for a list.

        Raises:
            ConfigError: if topk is below 1.
            BadImageError: if a file cannot be decoded, or an image is of no known kind.
        """
        if isinstance(images, list | tuple):
            return list(self.stream(images, topk=topk))
        return next(self.stream([images], topk=topk))

    def stream(
        self,
        images: Iterable[AnyImage],
        *,
        topk: int = 5,
        batch_size: int | None = None,
        workers: int = 2,
        on_bad_image: OnBadImage = "error",
    ) -> Iterator[Prediction]:
        """Classify any number of images, in order; the next ones are decoded while these are classified.

        Args:
            images: read as they are needed, never all at once.
            topk: how many classes to name for each; at most all.
            batch_size: images classified at a time; None is 32, for an exported file 8 or what it takes.
            workers: threads that decode.
            on_bad_image: stop at an image that cannot be decoded or is of no known kind, or give a prediction
                without scores, with the reason in `error`.

        Raises:
            ConfigError: on values out of range, before the first image is read.
            BadImageError: on a bad image, under "error".
        """
        if batch_size is None:
            batch_size = self.batch_size
        self._require_classes()
        _check_counts(topk=topk, batch_size=batch_size, workers=workers)
        if on_bad_image not in ("error", "skip"):
            raise ConfigError(f"on_bad_image must be error or skip, got {on_bad_image!r}")
        return self._stream(images, topk, batch_size, workers, on_bad_image)

    @property
    def batch_size(self) -> int:
        """Images classified at a time, where nothing else is said."""
        if not isinstance(self.classifier, Artifact):
            return BATCH_SIZE
        return max(self.classifier.manifest.tensor.batch or 1, ARTIFACT_BATCH_SIZE)

    def _stream(
        self, images: Iterable[AnyImage], topk: int, batch_size: int, workers: int, on_bad_image: OnBadImage
    ) -> Iterator[Prediction]:
        batch: list[tuple[str, NDArray[np.uint8] | BadImageError]] = []
        for decoded in map_ahead(self._decode, images, workers=workers, ahead=2 * batch_size):
            if isinstance(decoded[1], BadImageError) and on_bad_image == "error":
                raise decoded[1]
            batch.append(decoded)
            if len(batch) == batch_size:
                yield from self._predictions(batch, topk)
                batch = []
        yield from self._predictions(batch, topk)

    def _decode(self, given: AnyImage) -> tuple[str, NDArray[np.uint8] | BadImageError]:
        try:
            image = as_image(given)
            return _place(given) or image.name, self.transform(image)
        except BadImageError as error:
            return _place(given) or name_of(given), error

    def _predictions(
        self, batch: list[tuple[str, NDArray[np.uint8] | BadImageError]], topk: int
    ) -> Iterator[Prediction]:
        views = [view for _, view in batch if not isinstance(view, BadImageError)]
        answers = iter(self.answers_of(views) if views else ())
        for name, view in batch:
            if isinstance(view, BadImageError):
                yield Prediction(name, (), error=str(view))
            else:
                yield self.prediction(name, *next(answers), topk=topk)

    def prediction(
        self, image: str, probabilities: NDArray[np.float32], doubt: Doubt | None = None, *, topk: int = 5
    ) -> Prediction:
        """What a row of probabilities (num_classes,) and its doubt say of an image.

        Of a multi-label network no label that reaches the threshold is left out of the scores, whatever
        `topk` is.
        """
        labels = self.labels(probabilities)
        return Prediction(
            image,
            self.scores(probabilities, topk=max(topk, len(labels or ()))),
            labels=labels,
            sure=None if self.decision is None else doubt is None,
            doubt=doubt,
        )

    def scores(self, probabilities: NDArray[np.float32], *, topk: int = 5) -> tuple[Score, ...]:
        """The likeliest classes of one image, best first, from its row of probabilities (num_classes,)."""
        return tuple(
            Score(
                int(index), self.classes[index], human_name(self.classes[index]), float(probabilities[index])
            )
            for index in largest(probabilities, topk)
        )

    def labels(self, probabilities: NDArray[np.float32]) -> tuple[str, ...] | None:
        """Class names of the labels that reach the threshold, the likeliest first, from a row (num_classes,).

        None of a network of one class an image.
        """
        if self.task == "singlelabel":
            return None
        order = largest(probabilities, len(probabilities))
        return tuple(self.classes[index] for index in order if probabilities[index] >= self.thresholds[index])


def _check_counts(**values: int) -> None:
    for name, value in values.items():
        check_count(value, name, least=1)


def largest(values: NDArray[np.float32], number: int) -> NDArray[np.intp]:
    """Places of the largest of a row, (K,), largest first, the first of equals first; at most all.

    >>> largest(np.array([0.25, 0.5, 0.25], np.float32), 2)
    array([1, 0])
    """
    least = np.partition(values, -number)[-number] if number < len(values) else -np.inf
    places = np.flatnonzero(values >= least)  # a few of a thousand: sorting all takes ten times as long
    return np.asarray(places[np.argsort(-values[places], kind="stable")][:number])


def _place(given: AnyImage) -> str | None:
    """A path as it is, which names in messages are not: who reads a prediction wants to find the file."""
    return os.fspath(given) if isinstance(given, str | os.PathLike) else None
