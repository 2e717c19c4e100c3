"""A network whose features tell colours, and photos of colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.input_spec import InputSpec

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


class Colours:
    """A classifier without weights: a feature is the mean of a colour in a quarter of the picture."""

    input_spec = InputSpec(size=8, crop=1.0)
    num_classes, class_names = 3, ("blue", "green", "red")
    device = torch.device("cpu")

    def __str__(self) -> str:
        return "colours"

    def embeddings(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pixels.float(), 4).flatten(1)

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().mean((2, 3)).flip(1) / 10


@pytest.fixture
def colours() -> Colours:
    return Colours()


def photo(colour: str, seed: int) -> PIL.Image.Image:
    """8 × 8 pixels of about one colour."""
    noise = np.random.default_rng(seed).integers(-40, 41, (8, 8, 3))
    return PIL.Image.fromarray((np.array(COLOURS[colour]) + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture
def paint() -> Callable[[str, int], PIL.Image.Image]:
    """`paint(colour, seed)`."""
    return photo


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    """train/ with 12 of each colour, two of them in the folder of another, and one copied there."""
    for number in range(36):
        colour = list(COLOURS)[number % 3]
        folder = {4: "red", 9: "blue"}.get(number, colour)
        path = tmp_path / "data" / "train" / folder / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(colour, number).save(path)
    photo("blue", 5).save(tmp_path / "data" / "train" / "blue" / "99.png")
    photo("blue", 8).save(tmp_path / "data" / "train" / "green" / "98.png")
    return tmp_path / "data"
