"""From a file's bytes to pixels: uint8 RGB arrays (H, W, 3), or one `BadImageError` that names the file.

JPEG goes through simplejpeg (libjpeg-turbo); every other format, and JPEG in colour spaces that simplejpeg
does not convert (CMYK, YCCK), through Pillow. The content decides, never the extension. Rules (docs/data.md
has the reasons): transparency is laid on white, 16-bit grey is scaled, the first frame of an animation is
taken, EXIF orientation and colour profiles are not applied.
"""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import PIL.Image
import simplejpeg
from numpy.typing import NDArray

from mobileone.errors import BadImageError
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
    height: int
    width: int
    use_simplejpeg: bool


@dataclass(frozen=True)
class EncodedImage:
    """An image file's content.

    Attributes:
        name: what errors and reports call it: the path.
        data: the file's bytes.

    Raises:
        BadImageError: by every property and method, if the content is not an image that can be decoded.
    """

    name: str
    data: bytes

    @property
    def height(self) -> int:
        """Height from the header, pixels."""
        return self._header.height

    @property
    def width(self) -> int:
        """Width from the header, pixels."""
        return self._header.width

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
        if self._header.use_simplejpeg:
            fast = min_height is not None or min_width is not None
            pixels = self._decode_jpeg(self._dct_factor(min_height, min_width), fast)
            if pixels is not None:
                return pixels
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of metadata and sizes; the limits here are our own
            try:
                with self._open() as image:
                    return _rgb_array(image)
            except BadImageError:
                raise
            except Exception as error:  # decoders raise anything on hostile bytes
                raise self._bad(error) from None

    def _dct_factor(self, min_height: int | None, min_width: int | None) -> int:
        if min_height is None and min_width is None:
            return 1
        height, width, _ = self._header
        for factor in DCT_FACTORS:
            if math.ceil(height / factor) >= (min_height or 1) and math.ceil(width / factor) >= (
                min_width or 1
            ):
                return factor
        return 1

    def _decode_jpeg(self, factor: int, fast: bool) -> NDArray[np.uint8] | None:
        """Pixels (H, W, 3), or `None` if Pillow shall try: a JPEG that libjpeg only finds unusual."""
        height, width, _ = self._header
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
                raise self._bad(error) from None
            return None
        return pixels

    @cached_property
    def _header(self) -> _Header:
        if not self.data:
            raise BadImageError(f"{self.name}: the file is empty (0 bytes)")
        header = self._jpeg_header() or self._pillow_header()
        if header.height * header.width > IMAGE_PIXELS.value:  # else a small file could fill the memory
            raise BadImageError(
                f"{self.name}: {header.width}×{header.height} pixels, over the limit of {IMAGE_PIXELS}"
            )
        return header

    def _jpeg_header(self) -> _Header | None:
        if not self.data.startswith(b"\xff\xd8"):
            return None
        try:
            height, width, colorspace, _ = simplejpeg.decode_jpeg_header(self.data)
        except ValueError:
            return None
        return _Header(height, width, use_simplejpeg=colorspace in ("YCbCr", "RGB", "Gray"))

    def _pillow_header(self) -> _Header:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with self._open() as image:
                    return _Header(image.height, image.width, use_simplejpeg=False)
            except Exception as error:  # decoders raise anything on hostile bytes
                raise self._bad(error) from None

    def _open(self) -> PIL.Image.Image:
        return PIL.Image.open(io.BytesIO(self.data), formats=PILLOW_FORMATS)

    def _bad(self, error: Exception) -> BadImageError:
        if isinstance(error, PIL.UnidentifiedImageError):
            reason = f"damaged, or not an image (known: {', '.join(PILLOW_FORMATS)})"
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
        return BadImageError(f"{self.name}: {reason}")


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


def _rgb_array(image: PIL.Image.Image) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) of the first frame of an opened image, whatever its mode."""
    if image.mode.startswith("I") or image.mode == "F":
        grey = _grey_to_uint8(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = PIL.Image.new("RGBA", over.size, (255, 255, 255, 255))
        image = PIL.Image.alpha_composite(white, over)
    return np.array(image.convert("RGB"))


def _grey_to_uint8(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """16-bit and 32-bit grey, (H, W), to 0..255.

    Integers that all lie in 0..65535 are 16-bit: white is 65535. Floats that all lie in 0..1 have white at 1.
    Anything else has no stated white: its own range is stretched.
    """
    grey = values.astype(np.float64)
    low, high = float(grey.min()), float(grey.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError("pixels that are not finite numbers")
    white = 65535.0 if np.issubdtype(values.dtype, np.integer) else 1.0
    if low >= 0 and high <= white:
        low, high = 0.0, white
    return np.rint((grey - low) * (255 / max(high - low, 1e-300))).astype(np.uint8)
