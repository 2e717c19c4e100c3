"""From a file's bytes to pixels: uint8 RGB arrays (H, W, 3), or one `BadImageError` that names the file.

JPEG goes through simplejpeg (libjpeg-turbo); every other format, and JPEG in colour spaces that simplejpeg
does not convert (CMYK, YCCK), through Pillow. The content decides, never the extension. Photos are turned as
their EXIF orientation says, unless they are asked for as they are stored; `rgb_pixels` has the other rules.
"""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import PIL.Image
from numpy.typing import NDArray

try:
    import simplejpeg
except ImportError:  # no wheel for this system: Pillow decodes JPEG too, in twice the time
    simplejpeg = None

from mobileone.errors import BadImageError, ConfigError
from mobileone.images.orientation import (
    UPRIGHT,
    jpeg_orientation,
    may_be_turned,
    orientation_of,
    swaps_sides,
    turned,
)
from mobileone.images.rgb_pixels import rgb_pixels
from mobileone.limits import IMAGE_BYTES, IMAGE_PIXELS
from mobileone.outside_text import printable
from mobileone.regular_file import read_regular

# The only decoders of Pillow that may run: others start programs (EPS) or are rarely exercised.
PILLOW_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
DCT_FACTORS = (8, 4, 2)
# Warnings of libjpeg that mean lost picture data. Others (an odd scan script, say) are left to Pillow.
_LOST_DATA = ("Premature end", "Corrupt JPEG data")


@runtime_checkable
class Image(Protocol):
    """What the transforms need of an image: `EncodedImage`, `DecodedImage`, or your own."""

    @property
    def name(self) -> str:
        """What reports call it: the path."""

    @property
    def height(self) -> int:
        """Height before decoding, pixels."""

    @property
    def width(self) -> int:
        """Width before decoding, pixels."""

    def decode(self, *, min_height: int | None = None, min_width: int | None = None) -> NDArray[np.uint8]:
        """Pixels, uint8 (H, W, 3).

        With a minimum, they may be smaller than the original, not than that, and a few grey levels off.
        """


class _Header(NamedTuple):
    """Sizes as stored, before the orientation is followed."""

    height: int
    width: int
    use_simplejpeg: bool
    orientation: int


@dataclass(frozen=True)
class EncodedImage:
    """An image file's content.

    Attributes:
        name: what errors and reports call it: the path.
        data: the file's bytes.
        exif: turn the picture as its EXIF orientation says.

    Raises:
        BadImageError: by every property and method, if the content is not an image that can be decoded.
    """

    name: str
    data: bytes
    exif: bool = True

    @property
    def height(self) -> int:
        """Height from the header, pixels."""
        header = self._header
        return header.width if swaps_sides(header.orientation) else header.height

    @property
    def width(self) -> int:
        """Width from the header, pixels."""
        header = self._header
        return header.height if swaps_sides(header.orientation) else header.width

    @property
    def orientation(self) -> int:
        """The EXIF orientation that is followed, 1 (upright) to 8; 1 without `exif`."""
        return self._header.orientation

    @property
    def format(self) -> str:
        """Which of `PILLOW_FORMATS` it is, by its content."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with self._open() as image:
                    return "JPEG" if image.format == "MPO" else str(image.format)  # a JPEG with others behind
            except Exception as error:  # decoders raise anything on hostile bytes
                raise bad_image(self.name, error) from None

    def decode(self, *, min_height: int | None = None, min_width: int | None = None) -> NDArray[np.uint8]:
        """Pixels as RGB, uint8 (H, W, 3).

        Args:
            min_height: with this or `min_width`, a JPEG is decoded the fast way: at 1/2, 1/4 or 1/8 of its
                size (rounded up), straight from its DCT coefficients, where the result is at least that
                large on both sides; pixels that share a colour value get it as it is, not interpolated.
                Pixels.
            min_width: likewise.

        Raises:
            BadImageError: on a zero-byte, truncated, corrupt or oversized file, or one of no known format.
        """
        orientation = self._header.orientation
        if swaps_sides(orientation):
            min_height, min_width = min_width, min_height
        return turned(self._decode_as_stored(min_height, min_width), orientation)

    def _decode_as_stored(self, min_height: int | None, min_width: int | None) -> NDArray[np.uint8]:
        if self._header.use_simplejpeg:
            fast = min_height is not None or min_width is not None
            pixels = self._decode_jpeg(self._dct_factor(min_height, min_width), fast)
            if pixels is not None:
                return pixels
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of metadata and sizes; the limits here are our own
            try:
                with self._open() as image:
                    return rgb_pixels(image)
            except Exception as error:  # decoders raise anything on hostile bytes
                raise bad_image(self.name, error) from None

    def _dct_factor(self, min_height: int | None, min_width: int | None) -> int:
        if min_height is None and min_width is None:
            return 1
        height, width, *_ = self._header
        for factor in DCT_FACTORS:
            if math.ceil(height / factor) >= (min_height or 1) and math.ceil(width / factor) >= (
                min_width or 1
            ):
                return factor
        return 1

    def _decode_jpeg(self, factor: int, fast: bool) -> NDArray[np.uint8] | None:
        """Pixels (H, W, 3), or `None` if Pillow shall try: a JPEG that libjpeg only finds unusual."""
        height, width, *_ = self._header
        try:
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
                self.data,
                min_height=math.ceil(height / factor),
                min_width=math.ceil(width / factor),
                min_factor=factor,
                fastupsample=fast,
            )
        except ValueError as error:
            if str(error).startswith(_LOST_DATA):
                raise bad_image(self.name, error) from None
            return None
        return pixels

    @cached_property
    def _header(self) -> _Header:
        if not self.data:
            raise BadImageError(f"{self.name}: the file is empty (0 bytes)")
        header = self._jpeg_header() or self._pillow_header()
        refuse_bomb(self.name, header.height, header.width)
        return header

    def _jpeg_header(self) -> _Header | None:
        if simplejpeg is None or not self.data.startswith(b"\xff\xd8"):
            return None
        try:
            height, width, colorspace, _ = simplejpeg.decode_jpeg_header(self.data)
        except ValueError:
            return None
        orientation = jpeg_orientation(self.data) if self.exif else UPRIGHT
        return _Header(height, width, colorspace in ("YCbCr", "RGB", "Gray"), orientation)

    def _pillow_header(self) -> _Header:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with self._open() as image:
                    refuse_bomb(self.name, image.height, image.width)  # before Pillow decodes it
                    follows = self.exif and may_be_turned(image, self.data)
                    orientation = orientation_of(image) if follows else UPRIGHT
                    return _Header(image.height, image.width, False, orientation)
            except BadImageError:
                raise
            except Exception as error:  # decoders raise anything on hostile bytes
                raise bad_image(self.name, error) from None

    def _open(self) -> PIL.Image.Image:
        return PIL.Image.open(io.BytesIO(self.data), formats=PILLOW_FORMATS)


@dataclass(frozen=True)
class PillowImage:
    """A picture that Pillow holds, loaded or not, with an `EncodedImage`'s interface and errors.

    Attributes:
        name: what errors and reports call it.
        image: the picture; the frame that it stands at.
        exif: turn it as its EXIF orientation says.
    """

    name: str
    image: PIL.Image.Image
    exif: bool = True

    @property
    def height(self) -> int:
        """Height, pixels; loads the picture."""
        return len(self._pixels)

    @property
    def width(self) -> int:
        """Width, pixels; likewise."""
        return int(self._pixels.shape[1])

    def decode(self, *, min_height: int | None = None, min_width: int | None = None) -> NDArray[np.uint8]:
        """Pixels as RGB, uint8 (H, W, 3), at full size.

        Raises:
            BadImageError: if Pillow cannot load the picture, or it is oversized.
        """
        return self._pixels

    @cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        refuse_bomb(self.name, self.image.height, self.image.width)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pixels = rgb_pixels(self.image)
            except Exception as error:
                raise bad_image(self.name, error) from None
        return turned(pixels, orientation_of(self.image) if self.exif else UPRIGHT)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """Pixels that are there already, with an `EncodedImage`'s interface.

    Attributes:
        name: what errors and reports call it.
        pixels: uint8 (H, W, 3).

    >>> DecodedImage("grey", np.full((4, 6, 3), 128, dtype=np.uint8)).width
    6
    """

    name: str
    pixels: NDArray[np.uint8]

    @property
    def height(self) -> int:
        """Height, pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Width, pixels."""
        return int(self.pixels.shape[1])

    def decode(self, *, min_height: int | None = None, min_width: int | None = None) -> NDArray[np.uint8]:
        """The pixels themselves, uint8 (H, W, 3), at full size: not a copy, so do not write to them."""
        return self.pixels


def read_image(path: str | Path) -> EncodedImage:
    """One image file's content.

    Raises:
        BadImageError: if the file is missing, no regular file, too large, or cannot be read.
    """
    name = printable(path)
    try:
        return EncodedImage(name, read_regular(path, IMAGE_BYTES))
    except OSError as error:
        raise BadImageError(f"{name}: cannot be read ({error.strerror or error})") from None
    except ConfigError:
        raise
    except ValueError as error:  # a null byte in the path
        raise BadImageError(f"{name}: cannot be read ({error})") from None


def as_stored(image: Image) -> Image:
    """The image without following its EXIF orientation, as loaders of earlier versions gave it.

    >>> as_stored(EncodedImage("photo.jpg", b"")).exif
    False
    """
    return replace(image, exif=False) if isinstance(image, EncodedImage | PillowImage) else image


def refuse_bomb(name: str, height: int, width: int) -> None:
    """Raise where an image is larger than any that is decoded.

    Raises:
        BadImageError: if it is.
    """
    if height * width > IMAGE_PIXELS.value:  # else a small file could fill the memory
        raise BadImageError(f"{name}: {width}×{height} pixels, over the limit of {IMAGE_PIXELS}")


def bad_image(name: str, error: Exception) -> BadImageError:
    """A decoder's exception as ours, in one line."""
    if isinstance(error, PIL.UnidentifiedImageError):
        reason = f"damaged, or not an image (known: {', '.join(PILLOW_FORMATS)})"
    else:
        reason = " ".join(str(error).split()) or type(error).__name__
    return BadImageError(f"{name}: {reason}")
