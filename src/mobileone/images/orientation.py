"""Which way up a photo is meant: the EXIF orientation that cameras write, read and followed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
import PIL.Image
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

UPRIGHT = 1
EXIF_ORIENTATION = 0x0112
_APP1, _START_OF_SCAN = 0xE1, 0xDA

# Of what Pillow takes an orientation from: a chunk, texts called exif, "Raw profile type exif", xmp,
# "XML:com.adobe.xmp".
_PNG_NAMES = (b"eXIf", b"exif\0", b"xmp\0")

# The eight values of the tag, on (H, W, C); 6 is a phone held upright.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels as they are to be looked at, uint8 (H, W, C) or (W, H, C), contiguous.

    Args:
        pixels: as they are stored, uint8 (H, W, C).
        orientation: the tag's value; any that does not exist means upright.

    >>> turned(np.zeros((4, 6, 3), dtype=np.uint8), 6).shape
    (6, 4, 3)
    """
    turn = _TURNS.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def swaps_sides(orientation: int) -> bool:
    """Whether the stored width is the height to look at."""
    return 5 <= orientation <= 8


def orientation_of(image: PIL.Image.Image) -> int:
    """The orientation that remains to be followed, 1 to 8; what cannot be read means upright.

    Pillow itself turns a TIFF when it loads one, and tells the turned size before.
    """
    if image.format == "TIFF":
        return UPRIGHT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = image.getexif().get(EXIF_ORIENTATION, UPRIGHT)
        except Exception:  # a damaged block of metadata is no damage to the picture
            return UPRIGHT
    return value if value in _TURNS else UPRIGHT


def may_be_turned(image: PIL.Image.Image, data: bytes) -> bool:
    """Whether a file can hold an orientation at all: that of a PNG is searched for its names first.

    It may stand behind the pixels, and Pillow decodes all of them to look there.

    Args:
        image: as Pillow opened it.
        data: the file's bytes.
    """
    return image.format != "PNG" or any(name in data for name in _PNG_NAMES)


def jpeg_orientation(data: bytes) -> int:
    """The same of a JPEG's bytes; without metadata in them, in a few microseconds.

    >>> jpeg_orientation(bytes.fromhex("ffd8ffda"))
    1
    """
    place = 2
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        marker = data[place + 1]
        if marker == _APP1:
            try:
                with PIL.Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                    return orientation_of(image)
            except Exception:  # whether the picture is damaged is for its decoder to say
                return UPRIGHT
        if marker == _START_OF_SCAN:
            break
        # A marker may be padded with any number of 0xFF; any other is followed by its segment's length.
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return UPRIGHT


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG that has no metadata yet, with the tag in it; as it is where it would say upright."""
    if orientation == UPRIGHT:
        return jpeg
    exif = PIL.Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    block = exif.tobytes()
    return jpeg[:2] + bytes((0xFF, _APP1)) + (2 + len(block)).to_bytes(2, "big") + block + jpeg[2:]
