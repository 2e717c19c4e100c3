"""What an image must become before a network sees it. Travels inside every checkpoint. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, Literal

from mobileone.errors import ConfigError
from mobileone.limits import INPUT_SIZE

Interpolation = Literal["bilinear", "bicubic"]

MIN_CROP = 0.01
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what Pillow's "L" is


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """Evaluation pre-processing: resize the short side, cut the centre, scale to [0, 1], normalise.

    Attributes:
        size: side of the square input, pixels.
        crop: share of the resized short side that the centre crop keeps, in (0, 1]; the short side is
            resized to round(size / crop), 256 for 224 at 0.875; from 0.01 on.
        interpolation: resize filter, antialiased.
        mean: per-channel mean of pixels in [0, 1]; its length is the number of input channels.
        std: per-channel standard deviation, likewise.
        exif: whether photos are turned as their EXIF orientation says, as cameras and browsers show them.

    Raises:
        ConfigError: on values out of range.

    >>> InputSpec(size=224).resize_size
    256
    """

    size: int = 224
    crop: float = 0.875
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    exif: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(v) for v in self.mean))
        object.__setattr__(self, "std", tuple(float(v) for v in self.std))
        if not isinstance(self.size, Integral) or not 1 <= self.size <= INPUT_SIZE.value:
            raise ConfigError(f"input size must be in 1..{INPUT_SIZE} pixels, got {self.size!r}")
        if not isinstance(self.crop, Real) or not MIN_CROP <= self.crop <= 1:
            raise ConfigError(f"crop must be in {MIN_CROP}..1, got {self.crop!r}")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ConfigError(f"interpolation must be bilinear or bicubic, got {self.interpolation!r}")
        if len(self.mean) != len(self.std) or not self.mean:
            raise ConfigError(f"mean and std need one value a channel, got {self.mean} and {self.std}")
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise ConfigError(f"mean must be finite and std positive, got {self.mean} and {self.std}")
        if not isinstance(self.exif, bool):
            raise ConfigError(f"exif must be true or false, got {self.exif!r}")

    @property
    def in_chans(self) -> int:
        """Number of input channels."""
        return len(self.mean)

    @property
    def resize_size(self) -> int:
        """Short side after resizing and before the centre crop, pixels."""
        return round(self.size / self.crop)

    @classmethod
    def for_channels(cls, in_chans: int, *, size: int = 224) -> InputSpec:
        """ImageNet's statistics for 3 channels, their average over the colours for any other number."""
        if in_chans == len(IMAGENET_MEAN):
            return cls(size=size)
        average = (sum(IMAGENET_MEAN) / 3, sum(IMAGENET_STD) / 3)
        return cls(size=size, mean=(average[0],) * in_chans, std=(average[1],) * in_chans)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; `InputSpec(**d)` is the way back."""
        return asdict(self)
