"""A network's view of an image in evaluation: resized, and its centre cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mobileone.errors import BadImageError, ConfigError
from mobileone.images.decode import Image, as_stored
from mobileone.input_spec import InputSpec, Interpolation
from mobileone.limits import IMAGE_PIXELS

# Training's evaluation and predictions on any machine share one filter: Pillow's, which needs nothing else.
Box = tuple[float, float, float, float]  # left, top, right, bottom
_FILTERS = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalTransform:
    """Resize the short side, cut the centre; always from the fully decoded image, so that results are exact.

    The long side becomes `int(resize_size · long / short)`; the cut starts at `round((side − size) / 2)`.
    Only pixels in the cut are computed, which now and then rounds one a grey level apart from cutting later.

    Attributes:
        size: side of the result, pixels.
        resize_size: short side after resizing, pixels, at least `size`.
        interpolation: resize filter.
        exif: turn photos as their EXIF orientation says.

    Raises:
        ConfigError: on values out of range.
    """

    size: int
    resize_size: int
    interpolation: Interpolation = "bilinear"
    exif: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.resize_size:
            raise ConfigError(f"need 1 ≤ size ≤ resize_size, got {self.size} and {self.resize_size}")

    @classmethod
    def from_spec(cls, spec: InputSpec) -> EvalTransform:
        """What a network's input spec asks for.

        >>> EvalTransform.from_spec(InputSpec(size=224)).resize_size
        256
        """
        return cls(
            size=spec.size, resize_size=spec.resize_size, interpolation=spec.interpolation, exif=spec.exif
        )

    def __call__(self, image: Image) -> NDArray[np.uint8]:
        """The network's view, uint8 (size, size, 3).

        Raises:
            BadImageError: if the image cannot be decoded, or is so elongated that resizing it is a bomb.
        """
        image = image if self.exif else as_stored(image)
        short, long = sorted((image.height, image.width))
        new_long = int(self.resize_size * long / short)
        if self.resize_size * new_long > IMAGE_PIXELS.value:
            raise BadImageError(
                f"{image.name}: {image.width}×{image.height} pixels is too elongated to resize "
                f"its short side to {self.resize_size}: over the limit of {IMAGE_PIXELS} pixels"
            )
        tall = image.height >= image.width
        height, width = (new_long, self.resize_size) if tall else (self.resize_size, new_long)
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        pixels = image.decode()
        if (height, width) == pixels.shape[:2]:
            return pixels[top : top + self.size, left : left + self.size]
        y, x = pixels.shape[0] / height, pixels.shape[1] / width
        box = (left * x, top * y, (left + self.size) * x, (top + self.size) * y)
        cut = PIL.Image.fromarray(pixels).resize(
            (self.size, self.size), _FILTERS[self.interpolation], _inside(box, pixels)
        )
        return np.array(cut)


def _inside(box: Box, pixels: NDArray[np.uint8]) -> Box:
    """The box without what rounding puts beyond the image, which Pillow refuses."""
    height, width = pixels.shape[:2]
    return min(box[0], width), min(box[1], height), min(box[2], width), min(box[3], height)
