"""A network's view of an image in evaluation: resized and its centre cut, or all of it inside a border."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobileone.errors import BadImageError, ConfigError
from mobileone.images.decode import Image, as_stored
from mobileone.images.letterbox import inside, with_border
from mobileone.images.resample import Box, resample
from mobileone.input_spec import Fit, InputSpec, Interpolation, Size, sides
from mobileone.limits import IMAGE_PIXELS


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalTransform:
    """Resize and cut the centre, or letterbox; always from the fully decoded image, so results are exact.

    To cut, the image is made as small as it may be with at least `resize_size` on both sides: for a square
    the long side becomes `int(resize_size · long / short)`. The cut starts at `round((side − size) / 2)`.
    Only pixels in the cut are computed, which now and then rounds one a grey level apart from cutting later.

    Attributes:
        size: of the result: side of a square, or (height, width), pixels.
        resize_size: likewise, of what is cut from; at least `size`. A letterbox does not need it.
        interpolation: resize filter.
        exif: turn photos as their EXIF orientation says.
        fit: "crop" or "letterbox".
        border: colour around a letterboxed image.
        scaled_decoding: decode a JPEG that is twice as large as needed, or more, at 1/2, 1/4 or 1/8 of its
            size: faster, and a grey level or two off on average, so not for accuracies to be compared.

    Raises:
        ConfigError: on values out of range.
    """

    size: Size
    resize_size: Size
    interpolation: Interpolation = "bilinear"
    exif: bool = True
    fit: Fit = "crop"
    border: tuple[int, int, int] = (0, 0, 0)
    scaled_decoding: bool = False

    def __post_init__(self) -> None:
        both = zip(sides(self.size), sides(self.resize_size), strict=True)
        if not all(1 <= size <= resize_size for size, resize_size in both):
            raise ConfigError(f"need 1 ≤ size ≤ resize_size, got {self.size} and {self.resize_size}")

    @classmethod
    def from_spec(cls, spec: InputSpec) -> EvalTransform:
        """What a network's input spec asks for.

        >>> EvalTransform.from_spec(InputSpec(size=224)).resize_size
        256
        """
        return cls(
            size=spec.size,
            resize_size=spec.resize_size,
            interpolation=spec.interpolation,
            exif=spec.exif,
            fit=spec.fit,
            border=spec.border,
        )

    def __call__(self, image: Image) -> NDArray[np.uint8]:
        """The network's view, uint8 (height, width, 3).

        Raises:
            BadImageError: if the image cannot be decoded, or is so elongated that resizing it is a bomb.
        """
        image = image if self.exif else as_stored(image)
        return self._letterboxed(image) if self.fit == "letterbox" else self._cut(image)

    def _letterboxed(self, image: Image) -> NDArray[np.uint8]:
        frame = sides(self.size)
        height, width = inside((image.height, image.width), frame)
        pixels = self._decoded(image, height, width)
        if (height, width) != pixels.shape[:2]:
            whole = (0, 0, pixels.shape[1], pixels.shape[0])
            pixels = resample(pixels, (height, width), interpolation=self.interpolation, box=whole)
        return with_border(pixels, frame, self.border)

    def _cut(self, image: Image) -> NDArray[np.uint8]:
        out_height, out_width = sides(self.size)
        height, width = self._around(image)
        top, left = round((height - out_height) / 2), round((width - out_width) / 2)
        pixels = self._decoded(image, height, width)
        if (height, width) == pixels.shape[:2]:
            return pixels[top : top + out_height, left : left + out_width]
        y, x = pixels.shape[0] / height, pixels.shape[1] / width
        box = (left * x, top * y, (left + out_width) * x, (top + out_height) * y)
        return resample(
            pixels, (out_height, out_width), interpolation=self.interpolation, box=_within(box, pixels)
        )

    def _decoded(self, image: Image, height: int, width: int) -> NDArray[np.uint8]:
        """The whole image, at least as large as it will be resized to."""
        if self.scaled_decoding and image.height >= 2 * height and image.width >= 2 * width:
            return image.decode(min_height=height, min_width=width)
        return image.decode()

    def _around(self, image: Image) -> tuple[int, int]:
        """Height and width to resize to: one is just enough, the other what the image's shape makes it."""
        height, width = sides(self.resize_size)
        if height * image.width >= width * image.height:
            width = height * image.width // image.height
        else:
            height = width * image.height // image.width
        if height * width > IMAGE_PIXELS.value:
            raise BadImageError(
                f"{image.name}: {image.width}×{image.height} pixels is too elongated to resize "
                f"its short side to {min(height, width)}: over the limit of {IMAGE_PIXELS} pixels"
            )
        return height, width


def _within(box: Box, pixels: NDArray[np.uint8]) -> Box:
    """The box without what rounding puts beyond the image, which Pillow refuses."""
    height, width = pixels.shape[:2]
    return min(box[0], width), min(box[1], height), min(box[2], width), min(box[3], height)
