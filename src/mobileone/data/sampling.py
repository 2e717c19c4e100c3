"""Epochs in which rare classes come more often: how often every image is drawn, and in what order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileone.data.source import ImageSource, Labels, StreamedSource, label_counts
from mobileone.errors import ConfigError

Sampling = Literal["shuffle", "balanced", "effective"]


def image_weights(
    labels: Labels, num_classes: int, *, sampling: Sampling, beta: float = 0.999
) -> NDArray[np.float64]:
    """How often every image is wanted, relative to one another.

    An image counts 1 / E of its class, with E = n for `"balanced"` and (1 − βⁿ) / (1 − β), the effective
    number of its n images (arXiv 1901.05555), for `"effective"`. An image with several labels counts as its
    rarest; one without any as those of the commonest.

    Args:
        labels: int64 (N,), or with several labels an image bool (N, K).
        num_classes: K.
        sampling: which.
        beta: β in [0, 1).

    Returns:
        float64 (N,), above 0.

    >>> image_weights(np.array([0, 0, 0, 1]), 2, sampling="balanced").round(2)
    array([0.33, 0.33, 0.33, 1.  ])
    """
    counts = label_counts(labels, num_classes).astype(np.float64)
    if sampling == "shuffle" or not counts.any():
        return np.ones(len(labels))
    numbers = counts if sampling == "balanced" else (1 - beta**counts) / (1 - beta)
    there = counts > 0
    of_class = np.where(there, 1 / np.where(there, numbers, 1), 0.0)
    if labels.ndim == 1:
        return of_class[labels]
    weights: NDArray[np.float64] = (labels * of_class).max(1)
    return np.where(weights > 0, weights, of_class[there].min())


@dataclass(frozen=True, slots=True, eq=False)
class WeightedOrder:
    """The images of an epoch, as many as there are, each as often as its weight says.

    An image comes ⌊w⌋ or ⌈w⌉ times, w being its share of the weights times their number: places at even
    distances on the line of all weights, which begins at a random point and on which images of one class lie
    together in random order. So a class comes as often as it should, to one image, and none of its images
    twice before all came once. The order is a function of the generator's state alone.

    Attributes:
        weights: of the images, float64 (N,).
        classes: what lies together, int64 (N,).
    """

    weights: NDArray[np.float64]
    classes: NDArray[np.int64]

    def __call__(self, generator: torch.Generator) -> Tensor:
        """Indices, int64 (N,).

        >>> order = WeightedOrder(np.array([1.0, 1.0, 1.0, 3.0]), np.array([0, 0, 0, 1]))
        >>> order(torch.Generator().manual_seed(0)).tolist().count(3)
        2
        """
        number = len(self.weights)
        mixed = torch.randperm(number, generator=generator).numpy()
        line = mixed[np.argsort(self.classes[mixed], kind="stable")]
        ends = np.cumsum(self.weights[line])
        start = float(torch.rand((), generator=generator, dtype=torch.float64))
        places = (np.arange(number) + start) * (ends[-1] / number)
        drawn = line[np.minimum(np.searchsorted(ends, places, side="right"), number - 1)]
        return torch.from_numpy(drawn[torch.randperm(number, generator=generator).numpy()])


def epoch_order(
    source: ImageSource, *, sampling: Sampling, beta: float = 0.999
) -> Callable[[torch.Generator], Tensor] | None:
    """What an epoch's order is drawn by; None is any permutation of the images.

    Raises:
        ConfigError: for what streams (shards behind URLs and pipes, hub data), whose order is its own.
    """
    if sampling == "shuffle":
        return None
    if isinstance(source, StreamedSource):
        raise ConfigError(
            f"sampling={sampling} reads images in any order, shards behind URLs and pipes and data sets with "
            "stream=true come in their own; fetch them first, or use class_weights=balanced"
        )
    labels = source.labels
    weights = image_weights(labels, len(source.classes), sampling=sampling, beta=beta)
    classes = labels.astype(np.int64) if labels.ndim == 1 else np.unique(weights, return_inverse=True)[1]
    return WeightedOrder(weights, classes)
