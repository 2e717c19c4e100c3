"""The operations that augmentation policies choose from, each on uint8 pixels by a signed amount.

Pillow applies them; what a rotation, shear or shift uncovers is filled with mid grey.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import torch
from torch import Tensor

from mobileone.errors import ConfigError

FILL = (128, 128, 128)
MAX_DEGREES = 30
MAX_SHEAR = 0.3
MAX_SHIFT = 150 / 331  # of the side: 150 pixels of the 331 that AutoAugment was searched at


class Operation(NamedTuple):
    """One step to apply.

    Attributes:
        name: key of the operation.
        amount: signed share of AutoAugment's range of that operation: 1 is 30 degrees, a shear of 0.3, a
            shift of 150/331 of the side, colour, contrast, brightness and sharpness times 1.9 (−1: times
            0.1), 4 bits left, all solarized. Wider policies go beyond ±1. At 0 an operation with a magnitude
            changes nothing.
    """

    name: str
    amount: float


def apply_operations(image: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Apply drawn operations, in order, to a copy.

    Args:
        image: uint8 RGB (3, H, W).
        operations: from a policy's draw.

    Raises:
        ConfigError: if the image is not RGB.

    >>> black = torch.zeros(3, 4, 4, dtype=torch.uint8)
    >>> int(apply_operations(black, [Operation("invert", 0.4)]).min())
    255
    """
    if image.shape[0] != 3:
        raise ConfigError(
            f"augmentation policies need RGB images, got {image.shape[0]} channels; set augment.policy=none"
        )
    if not operations:
        return image
    picture = PIL.Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())  # (H, W, C)
    for operation in operations:
        picture = OPERATIONS[operation.name](picture, operation.amount)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _affine(picture: PIL.Image.Image, matrix: tuple[float, ...]) -> PIL.Image.Image:
    return picture.transform(
        picture.size, PIL.Image.Transform.AFFINE, matrix, PIL.Image.Resampling.BILINEAR, fillcolor=FILL
    )


def _rotate(picture: PIL.Image.Image, amount: float) -> PIL.Image.Image:
    return picture.rotate(MAX_DEGREES * amount, PIL.Image.Resampling.BILINEAR, fillcolor=FILL)


def _shear_x(picture: PIL.Image.Image, amount: float) -> PIL.Image.Image:
    # About the centre row, so that what the image shows stays in the middle.
    shear = MAX_SHEAR * amount
    return _affine(picture, (1, shear, -shear * picture.height / 2, 0, 1, 0))


def _shear_y(picture: PIL.Image.Image, amount: float) -> PIL.Image.Image:
    shear = MAX_SHEAR * amount
    return _affine(picture, (1, 0, 0, shear, 1, -shear * picture.width / 2))


def _translate_x(picture: PIL.Image.Image, amount: float) -> PIL.Image.Image:
    return _affine(picture, (1, 0, -round(MAX_SHIFT * amount * picture.width), 0, 1, 0))


def _translate_y(picture: PIL.Image.Image, amount: float) -> PIL.Image.Image:
    return _affine(picture, (1, 0, 0, 0, 1, -round(MAX_SHIFT * amount * picture.height)))


def _posterize(picture: PIL.Image.Image, amount: float) -> PIL.Image.Image:
    return PIL.ImageOps.posterize(picture, 8 - round(4 * abs(amount)))


def _solarize(picture: PIL.Image.Image, amount: float) -> PIL.Image.Image:
    return PIL.ImageOps.solarize(picture, round(256 * (1 - abs(amount))))


OPERATIONS: dict[str, Callable[[PIL.Image.Image, float], PIL.Image.Image]] = {
    "identity": lambda picture, amount: picture,
    "auto_contrast": lambda picture, amount: PIL.ImageOps.autocontrast(picture),
    "brightness": lambda picture, amount: PIL.ImageEnhance.Brightness(picture).enhance(1 + 0.9 * amount),
    "color": lambda picture, amount: PIL.ImageEnhance.Color(picture).enhance(1 + 0.9 * amount),
    "contrast": lambda picture, amount: PIL.ImageEnhance.Contrast(picture).enhance(1 + 0.9 * amount),
    "equalize": lambda picture, amount: PIL.ImageOps.equalize(picture),
    "invert": lambda picture, amount: PIL.ImageOps.invert(picture),
    "posterize": _posterize,
    "rotate": _rotate,
    "sharpness": lambda picture, amount: PIL.ImageEnhance.Sharpness(picture).enhance(1 + 0.9 * amount),
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "solarize": _solarize,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
