"""A network's view of an image in evaluation: resized, and its centre cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobileone.errors import BadImageError, ConfigError
from mobileone.images.decode import Image, as_stored
from mobileone.images.resize import resize
from mobileone.input_spec import InputSpec, Interpolation
from mobileone.limits import IMAGE_PIXELS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalTransform:
    """Resize the short side, cut the centre; always from the fully decoded image, so that results are exact.

    The long side becomes `int(resize_size · long / short)`; the cut starts at `round((side − size) / 2)`.

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

    def __call__(self, image: Image) -> Tensor:
        """The network's view, uint8 (3, size, size).

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
        resized = resize(image.decode(), (height, width), interpolation=self.interpolation)
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return resized[:, top : top + self.size, left : left + self.size]
