"""Training and evaluation transforms: decode, cut, resize, flip. Pixels stay uint8 all the way.

Randomness is drawn apart from applying it, always a fixed number of draws from the generator given, so that
one decision (a rejected crop, say) never shifts the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mobileone.data.erasing import random_erasing
from mobileone.data.operations import Operation, apply_operations
from mobileone.data.pixels import to_tensor
from mobileone.data.resize import resize
from mobileone.errors import ConfigError
from mobileone.images.decode import Image, as_stored
from mobileone.images.letterbox import inside, with_border
from mobileone.input_spec import Fit, Interpolation, Size, checked_size, sides

CROP_TRIES = 10


class Policy(Protocol):
    """Which operations an image gets: `AutoAugment`, `RandAugment`, `TrivialAugment`, or your own.

    Picklable, for the loader's workers.
    """

    def draw(self, generator: torch.Generator) -> tuple[Operation, ...]:
        """The operations for one image; all its randomness is drawn from `generator`."""


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


def draw_crop(
    height: int,
    width: int,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    generator: torch.Generator,
) -> Box:
    """A random box inside an image: the crop of "Going deeper with convolutions" (arXiv 1409.4842).

    Area uniform in `scale` and the logarithm of the aspect ratio uniform in `ratio`, until a box fits; after
    10 that do not, the largest central box whose ratio is allowed.

    Args:
        height: of the image, pixels.
        width: likewise.
        scale: least and largest area, as a share of the image's.
        ratio: least and largest width / height.
        generator: 40 numbers are drawn from it.

    >>> draw_crop(300, 400, generator=torch.Generator().manual_seed(0)).width <= 400
    True
    """
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    for draws in torch.rand(CROP_TRIES, 4, dtype=torch.float64, generator=generator).tolist():
        area = height * width * (scale[0] + draws[0] * (scale[1] - scale[0]))
        aspect = math.exp(log_ratio[0] + draws[1] * (log_ratio[1] - log_ratio[0]))
        box_height, box_width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < box_height <= height and 0 < box_width <= width:
            top, left = int(draws[2] * (height - box_height + 1)), int(draws[3] * (width - box_width + 1))
            return Box(top, left, box_height, box_width)
    box_height = min(height, max(1, round(width / ratio[0])))
    box_width = min(width, max(1, round(height * ratio[1])))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainTransform:
    """Random crop resized to `size`, random flip; a policy and random erasing if asked for.

    The crop is drawn on the full-size image. A JPEG is then decoded at 1/2, 1/4 or 1/8 wherever the crop
    keeps at least as many pixels on both sides as it is resized to.

    Attributes:
        size: of the result: side of a square, or (height, width), pixels.
        interpolation: resize filters; one is drawn for every image.
        flip: probability of mirroring left and right.
        scale: area of the crop, as a share of the image's.
        ratio: width / height of the crop, over that of the result: how much a view may be stretched. For a
            letterbox, over that of the image, and views are not stretched: they have its shape, more or less.
        policy: operations on colour and shape, or None.
        erasing: probability that a rectangle is erased.
        exif: turn photos as their EXIF orientation says.
        fit: resize the crop to all of `size`, or "letterbox": as it is, inside a border.
        border: colour around a letterboxed view.

    Raises:
        ConfigError: on values out of range.
    """

    size: Size
    interpolation: tuple[Interpolation, ...] = ("bilinear",)
    flip: float = 0.5
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    policy: Policy | None = None
    erasing: float = 0.0
    exif: bool = True
    fit: Fit = "crop"
    border: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        checked_size(self.size, name="image size")
        if not self.interpolation or not set(self.interpolation) <= {"bilinear", "bicubic"}:
            raise ConfigError(f"interpolation: bilinear, bicubic or both, got {self.interpolation!r}")
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"flip is a probability, in 0..1, got {self.flip}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError(f"crop scale must be ascending and in (0, 1], got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigError(f"crop ratio must be ascending and positive, got {self.ratio}")
        if not 0 <= self.erasing <= 1:
            raise ConfigError(f"erasing is a probability, in 0..1, got {self.erasing}")

    def __call__(self, image: Image, generator: torch.Generator) -> Tensor:
        """One augmented view, uint8 (3, height, width).

        Raises:
            BadImageError: if the image cannot be decoded.
        """
        image = image if self.exif else as_stored(image)
        height, width = image.height, image.width
        frame = sides(self.size)
        shape = width / height if self.fit == "letterbox" else frame[1] / frame[0]
        ratio = (self.ratio[0] * shape, self.ratio[1] * shape)
        box = draw_crop(height, width, scale=self.scale, ratio=ratio, generator=generator)
        view = inside((box.height, box.width), frame) if self.fit == "letterbox" else frame
        choice, flip = torch.rand(2, dtype=torch.float64, generator=generator).tolist()
        decoded = image.decode(
            min_height=math.ceil(view[0] * height / box.height),
            min_width=math.ceil(view[1] * width / box.width),
        )
        pixels = to_tensor(decoded)
        box = _scale_box(box, pixels.shape[-2] / height, pixels.shape[-1] / width)
        cut = pixels[:, box.top : box.top + box.height, box.left : box.left + box.width]
        interpolation = self.interpolation[int(choice * len(self.interpolation))]
        result = resize(cut, view, interpolation=interpolation)
        if flip < self.flip:
            result = result.flip(-1)
        if self.policy is not None:
            result = apply_operations(result, self.policy.draw(generator))
        if view != frame:
            framed = with_border(result.permute(1, 2, 0).numpy(), frame, self.border)  # (H, W, C)
            result = to_tensor(framed)
        if self.erasing:
            result = random_erasing(result, probability=self.erasing, generator=generator)
        return result


def _scale_box(box: Box, y_scale: float, x_scale: float) -> Box:
    """The same part of an image decoded at another size."""
    top, left = int(box.top * y_scale), int(box.left * x_scale)
    return Box(top, left, max(1, round(box.height * y_scale)), max(1, round(box.width * x_scale)))
