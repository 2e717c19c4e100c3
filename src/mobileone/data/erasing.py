"""Random erasing (arXiv 1708.04896): a rectangle of noise over the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

AREA = (0.02, 0.33)
RATIO = (0.3, 1 / 0.3)
"""The paper's: smallest and largest share of the image's area, and height / width."""


def random_erasing(image: Tensor, *, probability: float, generator: torch.Generator) -> Tensor:
    """With that probability, a copy whose random rectangle is uniform noise, which the paper found best.

    Args:
        image: uint8 (C, H, W).
        probability: in [0, 1].
        generator: 5 numbers are drawn from it, and the noise.

    >>> image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    >>> erased = random_erasing(image, probability=1.0, generator=torch.Generator().manual_seed(0))
    >>> 0.02 <= (erased > 0).any(0).float().mean() <= 0.34
    tensor(True)
    """
    chance, area, aspect, top, left = torch.rand(5, dtype=torch.float64, generator=generator).tolist()
    if chance >= probability:
        return image
    channels, height, width = image.shape
    pixels = height * width * (AREA[0] + area * (AREA[1] - AREA[0]))
    ratio = math.exp(math.log(RATIO[0]) + aspect * (math.log(RATIO[1]) - math.log(RATIO[0])))
    # A rectangle that would stick out is cut to the image: the draw is never repeated.
    box_height = max(1, min(height, round(math.sqrt(pixels * ratio))))
    box_width = max(1, min(width, round(math.sqrt(pixels / ratio))))
    y, x = int(top * (height - box_height + 1)), int(left * (width - box_width + 1))
    noise = torch.randint(0, 256, (channels, box_height, box_width), dtype=torch.uint8, generator=generator)
    erased = image.clone()
    erased[:, y : y + box_height, x : x + box_width] = noise
    return erased
