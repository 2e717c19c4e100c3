"""AutoAugment's ImageNet policy (arXiv 1805.09501, appendix), its magnitudes scaled by one strength.

A policy is 25 pairs of operations, each with a probability and a magnitude level 0..9 that spans the paper's
range of that operation. Operations that can go two ways (rotation, shear, colour …) do so with equal chance.
Pillow applies them; what a rotation or shear uncovers is filled with mid grey.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import torch
from torch import Tensor

from mobileone.errors import ConfigError

MAX_LEVEL = 9
FILL = (128, 128, 128)

# (operation, probability, level); the level of an operation without magnitude is not used.
Step = tuple[str, float, int]
POLICY: tuple[tuple[Step, Step], ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 4), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 7)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 2)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 8), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 2)),
    (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 8)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 9)),
    (("color", 0.4, 0), ("equalize", 0.6, 3)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
)


class Operation(NamedTuple):
    """One step to apply.

    Attributes:
        name: key of the operation.
        amount: signed share of the operation's full range, in -1..1; at 0 an operation with a magnitude
            changes nothing.
    """

    name: str
    amount: float


def draw_operations(strength: float, *, generator: torch.Generator) -> tuple[Operation, ...]:
    """The operations for one image: none, one or two.

    Args:
        strength: factor on all magnitudes, in (0, 1]; operations without a magnitude are not affected.
        generator: 5 numbers are drawn from it.

    Raises:
        ConfigError: on a strength out of range.
    """
    if not 0 < strength <= 1:
        raise ConfigError(f"AutoAugment's strength must be in (0, 1], got {strength}")
    which, *draws = torch.rand(5, dtype=torch.float64, generator=generator).tolist()
    steps = POLICY[int(which * len(POLICY))]
    return tuple(
        Operation(name, level / MAX_LEVEL * strength * (1 if sign < 0.5 else -1))
        for (name, probability, level), chance, sign in zip(steps, draws[:2], draws[2:], strict=True)
        if chance < probability
    )


def auto_augment(image: Tensor, operations: tuple[Operation, ...]) -> Tensor:
    """Apply drawn operations to a copy.

    Args:
        image: uint8 RGB (3, H, W).
        operations: from `draw_operations`.

    Raises:
        ConfigError: if the image is not RGB.

    >>> black = torch.zeros(3, 4, 4, dtype=torch.uint8)
    >>> int(auto_augment(black, (Operation("invert", 0.4),)).min())
    255
    """
    if image.shape[0] != 3:
        raise ConfigError(f"AutoAugment needs RGB images, got {image.shape[0]} channels; set auto_augment=0")
    if not operations:
        return image
    picture = PIL.Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())  # (H, W, C)
    for operation in operations:
        picture = _APPLY[operation.name](picture, operation.amount)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _rotate(picture: PIL.Image.Image, amount: float) -> PIL.Image.Image:
    return picture.rotate(30 * amount, PIL.Image.Resampling.BILINEAR, fillcolor=FILL)


def _shear_x(picture: PIL.Image.Image, amount: float) -> PIL.Image.Image:
    # About the centre row, so that what the image shows stays in the middle.
    shear = 0.3 * amount
    matrix = (1, shear, -shear * picture.height / 2, 0, 1, 0)
    return picture.transform(
        picture.size, PIL.Image.Transform.AFFINE, matrix, PIL.Image.Resampling.BILINEAR, fillcolor=FILL
    )


def _posterize(picture: PIL.Image.Image, amount: float) -> PIL.Image.Image:
    return PIL.ImageOps.posterize(picture, 8 - round(4 * abs(amount)))


def _solarize(picture: PIL.Image.Image, amount: float) -> PIL.Image.Image:
    return PIL.ImageOps.solarize(picture, round(256 * (1 - abs(amount))))


_APPLY: dict[str, Callable[[PIL.Image.Image, float], PIL.Image.Image]] = {
    "auto_contrast": lambda picture, amount: PIL.ImageOps.autocontrast(picture),
    "color": lambda picture, amount: PIL.ImageEnhance.Color(picture).enhance(1 + 0.9 * amount),
    "contrast": lambda picture, amount: PIL.ImageEnhance.Contrast(picture).enhance(1 + 0.9 * amount),
    "equalize": lambda picture, amount: PIL.ImageOps.equalize(picture),
    "invert": lambda picture, amount: PIL.ImageOps.invert(picture),
    "posterize": _posterize,
    "rotate": _rotate,
    "sharpness": lambda picture, amount: PIL.ImageEnhance.Sharpness(picture).enhance(1 + 0.9 * amount),
    "shear_x": _shear_x,
    "solarize": _solarize,
}
