"""What a set of labelled images is to everything that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mobileone.images.decode import Image
from mobileone.task import Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor


Labels = NDArray[np.int64] | NDArray[np.bool_]
"""Class indices, int64 (N,); or with several labels an image whether it has each, bool (N, K)."""


class ImageSource(Protocol):
    """A labelled, indexable set of images: `ImageFolder`, `Digits`, or your own (picklable, for workers)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What the labels index into."""

    @property
    def labels(self) -> Labels:
        """Class indices, int64 (len(source),), or with several labels an image bool (len(source), K)."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What reports call the image: its path. The image read and its errors carry the same name."""

    def read(self, index: int) -> Image:
        """The image, not decoded yet. Raises BadImageError if it cannot be read."""


def labels_task(labels: Labels) -> Task:
    """Whether images have one label each, or any number, by the shape of `ImageSource.labels`.

    >>> labels_task(np.zeros((2, 3), bool)), labels_task(np.zeros(2, np.int64))
    ('multilabel', 'singlelabel')
    """
    return "multilabel" if labels.ndim == 2 else "singlelabel"


def label_counts(labels: Labels, num_classes: int) -> NDArray[np.int64]:
    """Images that have each label, int64 (num_classes,).

    >>> label_counts(np.array([0, 2, 2]), 3), label_counts(np.array([[True, False], [True, True]]), 2)
    (array([1, 0, 2]), array([2, 1]))
    """
    if labels.ndim == 2:
        counts: NDArray[np.int64] = labels.sum(0, dtype=np.int64)
        return counts
    return np.bincount(labels, minlength=num_classes).astype(np.int64)


@runtime_checkable
class NotedSource(Protocol):
    """A source about whose finding there is something to say."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen or left out, a line each."""


def notes_of(source: object) -> tuple[str, ...]:
    """What is to be said about a source, a line each."""
    return tuple(source.notes) if isinstance(source, NotedSource) else ()


@runtime_checkable
class StreamedSource(ImageSource, Protocol):
    """An image source whose images come from elsewhere, many at a time, so that order and notice matter."""

    def epoch_order(self, generator: torch.Generator) -> Tensor:
        """All indices, shuffled, int64 (len(source),); a function of the generator's state alone."""

    def expect(self, indices: Sequence[int]) -> None:
        """Told, in the process that reads, which images will be read soon; returns at once."""
