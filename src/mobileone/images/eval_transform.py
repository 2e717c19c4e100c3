"""A network's view of an image in evaluation: resized and its centre cut, or all of it inside a border."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobileone.errors import BadImageError, ConfigError
from mobileone.images.decode import Image, as_stored
from mobileone.images.letterbox import inside, with_border
from mobileone.images.resize import resize
from mobileone.input_spec import Fit, InputSpec, Interpolation, Size, sides
from mobileone.limits import IMAGE_PIXELS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalTransform:
    """Resize and cut the centre, or letterbox; always from the fully decoded image, so results are exact.

    To cut, the image is made as small as it may be with at least `resize_size` on both sides: for a square
    the long side becomes `int(resize_size · long / short)`. The cut starts at `round((side − size) / 2)`.

    Attributes:
        size: of the result: side of a square, or (height, width), pixels.
        resize_size: likewise, of what is cut from; at least `size`. A letterbox does not need it.
        interpolation: resize filter.
        exif: turn photos as their EXIF orientation says.
        fit: "crop" or "letterbox".
        border: colour around a letterboxed image.

    Raises:
        ConfigError: on values out of range.
    """

    size: Size
    resize_size: Size
    interpolation: Interpolation = "bilinear"
    exif: bool = True
    fit: Fit = "crop"
    border: tuple[int, int, int] = (0, 0, 0)

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

    def __call__(self, image: Image) -> Tensor:
        """The network's view, uint8 (3, height, width).

        Raises:
            BadImageError: if the image cannot be decoded, or is so elongated that resizing it is a bomb.
        """
        image = image if self.exif else as_stored(image)
        height, width = sides(self.size)
        if self.fit == "letterbox":
            whole = inside((image.height, image.width), (height, width))
            resized = resize(image.decode(), whole, interpolation=self.interpolation)
            return with_border(resized, (height, width), self.border)
        around = self._around(image)
        resized = resize(image.decode(), around, interpolation=self.interpolation)
        top, left = round((around[0] - height) / 2), round((around[1] - width) / 2)
        return resized[:, top : top + height, left : left + width]

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
