"""Answers of networks that are too bold, made without any."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mobileone.data.digits import Digits
from mobileone.input_spec import InputSpec

NUM_CLASSES = 4


@pytest.fixture(scope="session")
def bold() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """2,000 images of four classes: logits that are right about themselves when divided by 3."""
    random = np.random.default_rng(0)
    honest = random.normal(scale=2, size=(2000, NUM_CLASSES))
    chances = np.exp(honest) / np.exp(honest).sum(1, keepdims=True)
    labels = np.array([random.choice(NUM_CLASSES, p=row) for row in chances])
    return (3 * honest).astype(np.float32), labels


class Recalled:
    """A classifier that gives logits by what is in an image's first pixel: its number in two bytes."""

    input_spec = InputSpec(size=2, crop=1.0)
    num_classes, class_names = NUM_CLASSES, tuple("abcd")
    device = torch.device("cpu")

    def __init__(self, logits: NDArray[np.float32]) -> None:
        self.rows = torch.from_numpy(logits)

    def __str__(self) -> str:
        return "recalled"

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        first = pixels[:, :, 0, 0].long()
        return self.rows[256 * first[:, 0] + first[:, 1]]


@pytest.fixture
def recalled() -> Callable[..., tuple[Recalled, Digits]]:
    """`recalled(logits, labels)`: the classifier, and its images."""

    def make(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[Recalled, Digits]:
        numbers = np.arange(len(logits))
        pixels = np.stack([numbers // 256, numbers % 256, numbers % 7], 1).astype(np.uint8)
        images = np.broadcast_to(pixels[:, None, None], (len(numbers), 2, 2, 3)).copy()
        return Recalled(logits), Digits(split="val", images=images, labels=labels, classes=tuple("abcd"))

    return make
