"""What an image must become before a network sees it. Travels inside every checkpoint. Imports no torch."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias

from mobileone.errors import ConfigError
from mobileone.limits import CHANNELS, INPUT_SIZE

Interpolation = Literal["bilinear", "bicubic"]
Fit = Literal["crop", "letterbox"]
Size: TypeAlias = int | tuple[int, int]
"""Side of a square, or height and width, pixels."""

MIN_CROP = 0.01
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what Pillow's "L" is


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """Evaluation pre-processing: resize, cut the centre, scale to [0, 1], normalise.

    Attributes:
        size: side of a square input, or its (height, width), pixels; equal ones become a side.
        crop: share of the resized image's height or width, whichever is the scarcer, that the centre crop
            keeps, in (0, 1]: for a square the short side is resized to round(size / crop), 256 for 224 at
            0.875; from 0.01 on.
        fit: "crop", or "letterbox": the whole image, `crop` does not matter, inside a border of the mean
            colour.
        interpolation: resize filter, antialiased.
        mean: per-channel mean of pixels in [0, 1]; its length is the number of input channels.
        std: per-channel standard deviation, likewise.
        exif: whether photos are turned as their EXIF orientation says, as cameras and browsers show them.

    Raises:
        ConfigError: on values out of range.

    >>> InputSpec(size=224).resize_size
    256
    """

    size: Size = 224
    crop: float = 0.875
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    exif: bool = True
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(v) for v in self.mean))
        object.__setattr__(self, "std", tuple(float(v) for v in self.std))
        object.__setattr__(self, "size", checked_size(self.size))
        if not isinstance(self.crop, Real) or not MIN_CROP <= self.crop <= 1:
            raise ConfigError(f"crop must be in {MIN_CROP}..1, got {self.crop!r}")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ConfigError(f"interpolation must be bilinear or bicubic, got {self.interpolation!r}")
        if len(self.mean) != len(self.std) or not self.mean:
            raise ConfigError(f"mean and std need one value a channel, got {self.mean} and {self.std}")
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise ConfigError(f"mean must be finite and std positive, got {self.mean} and {self.std}")
        if self.fit not in ("crop", "letterbox"):
            raise ConfigError(f"fit must be crop or letterbox, got {self.fit!r}")
        if not isinstance(self.exif, bool):
            raise ConfigError(f"exif must be true or false, got {self.exif!r}")

    @property
    def in_chans(self) -> int:
        """Number of input channels."""
        return len(self.mean)

    @property
    def height(self) -> int:
        """Of the input, pixels."""
        return sides(self.size)[0]

    @property
    def width(self) -> int:
        """Of the input, pixels."""
        return sides(self.size)[1]

    @property
    def resize_size(self) -> Size:
        """The least that resizing leaves to the centre crop: short side, or (height, width), pixels."""
        return square_or_sides(round(self.height / self.crop), round(self.width / self.crop))

    @property
    def view(self) -> str:
        """How an image is fitted, for people.

        >>> InputSpec().view, InputSpec(fit="letterbox").view
        ('crop 0.875, bilinear', 'letterbox, bilinear')
        """
        return f"{f'crop {self.crop}' if self.fit == 'crop' else self.fit}, {self.interpolation}"

    @property
    def border(self) -> tuple[int, int, int]:
        """RGB of a letterbox's border, which normalising turns to nearly zero."""
        colours = self.mean if self.in_chans == len(IMAGENET_MEAN) else (sum(self.mean) / self.in_chans,) * 3
        red, green, blue = (min(255, max(0, round(255 * value))) for value in colours)
        return red, green, blue

    @classmethod
    def for_channels(cls, in_chans: int, *, size: Size = 224) -> InputSpec:
        """ImageNet's statistics for 3 channels, their average over the colours for any other number.

        Raises:
            ConfigError: on more channels than a file may ask for: a few bytes there are a value each here.
        """
        if in_chans > CHANNELS.value:
            raise ConfigError(f"input channels must be at most {CHANNELS}, got {in_chans}")
        if in_chans == len(IMAGENET_MEAN):
            return cls(size=size)
        average = (sum(IMAGENET_MEAN) / 3, sum(IMAGENET_STD) / 3)
        return cls(size=size, mean=(average[0],) * in_chans, std=(average[1],) * in_chans)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; `InputSpec(**d)` is the way back."""
        return asdict(self)


def sides(size: Size) -> tuple[int, int]:
    """Height and width.

    >>> sides(224), sides((256, 192))
    ((224, 224), (256, 192))
    """
    return (size, size) if isinstance(size, int) else size


def square_or_sides(height: int, width: int) -> Size:
    """The side where both are equal, else both.

    >>> square_or_sides(32, 32), square_or_sides(32, 64)
    (32, (32, 64))
    """
    return height if height == width else (height, width)


def checked_size(size: object, *, name: str = "input size") -> Size:
    """A size as it is stored: an int for a square, else (height, width).

    Args:
        size: whole numbers, as JSON has them too.
        name: of the argument, for the message.

    Raises:
        ConfigError: if it is neither one nor two whole numbers in range.

    >>> checked_size([256, 192]), checked_size((224, 224))
    ((256, 192), 224)
    """
    given = tuple(size) if isinstance(size, list | tuple) else (size, size)
    whole = [int(side) for side in given if isinstance(side, Integral) and not isinstance(side, bool)]
    if len(whole) != len(given) or len(whole) != 2 or not 1 <= min(whole) <= max(whole) <= INPUT_SIZE.value:
        raise ConfigError(
            f"{name} must be in 1..{INPUT_SIZE} pixels, a side or (height, width), got {size!r}"
        )
    return square_or_sides(whole[0], whole[1])


def size_text(size: Size) -> str:
    """For people: height×width.

    >>> size_text(224), size_text((256, 192))
    ('224', '256x192')
    """
    return str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"


def parse_size(text: str) -> Size:
    """A size as people write it, height first.

    Raises:
        ValueError: if it is none.

    >>> parse_size("224"), parse_size("256x192")
    (224, (256, 192))
    """
    found = re.fullmatch(r"\s*(\d{1,9})(?:[x×](\d{1,9}))?\s*", text)
    if found is None:
        raise ValueError(f"a side in pixels, or HEIGHTxWIDTH such as 256x192, got {text!r}")
    height = int(found[1])
    return square_or_sides(height, int(found[2] or height))
