"""From anything that holds a picture to an image as the transforms take it."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union, cast

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mobileone.errors import BadImageError
from mobileone.images.decode import DecodedImage, EncodedImage, Image, PillowImage, bad_image, read_image
from mobileone.limits import IMAGE_BYTES
from mobileone.outside_text import printable

if TYPE_CHECKING:
    from torch import Tensor

AnyImage: TypeAlias = Union[
    str, os.PathLike[str], bytes, bytearray, IO[bytes], Image, PIL.Image.Image, NDArray[Any], "Tensor"
]
"""A path, a file's content, an open file, an `Image`, Pillow's, or pixels: NumPy's (H, W), (H, W, 3) or
(H, W, 4), PyTorch's (H, W), (1, H, W), (3, H, W) or (4, H, W), uint8 RGB; grey also in 16 and 32 bits."""

NAMELESS = "image"
_GREY_TYPES = ("bool", "uint8", "uint16", "int32", "float32", "float64")


def as_image(given: AnyImage) -> Image:
    """Any kind of image as the transforms take it. The same picture gives the same pixels in every kind.

    Raises:
        BadImageError: if a file cannot be read, or if it is none of them.

    >>> as_image(np.zeros((4, 6), dtype=np.uint8)).width
    6
    """
    if isinstance(given, str | os.PathLike):
        return read_image(os.fspath(given))
    # The known kinds first: asking a file's content for an `Image`'s properties would read its header.
    if isinstance(given, EncodedImage | PillowImage):
        return given
    name = name_of(given)
    if isinstance(given, bytes | bytearray | memoryview):
        return EncodedImage(name, bytes(given))
    if isinstance(given, PIL.Image.Image):
        return PillowImage(name, given)
    if hasattr(given, "read"):
        return EncodedImage(name, _content(name, cast(IO[bytes], given)))
    if isinstance(given, np.ndarray):
        return _from_pixels(name, given, given)
    if type(given).__module__.partition(".")[0] != "torch" and isinstance(given, Image):
        return given
    if _is_tensor(given):
        try:
            array = given.numpy(force=True)
        except (TypeError, RuntimeError):  # a kind of numbers or a layout that NumPy does not have
            raise _wrong(name, given) from None
        return _from_pixels(name, np.moveaxis(array, 0, -1) if array.ndim == 3 else array, given)
    raise _wrong(name, given)


def name_of(given: object) -> str:
    """What reports call it: its path where it has one, or "image".

    >>> name_of("a/b.jpg"), name_of(b"content")
    ('a/b.jpg', 'image')
    """
    if isinstance(given, str | os.PathLike):
        return printable(os.fspath(given))
    if isinstance(given, EncodedImage | PillowImage):
        return given.name
    # An open file's own name, and the one that Pillow remembers. A descriptor's number is no name.
    for name in (getattr(given, "filename", None), getattr(given, "name", None)):
        if isinstance(name, str | os.PathLike) and name:
            return printable(os.fspath(name))
    return NAMELESS


def _content(name: str, file: IO[bytes]) -> bytes:
    most = IMAGE_BYTES.value
    try:
        data = file.read(most + 1)
    except Exception as error:  # closed, text that is none, a connection that broke: whatever the file is
        raise bad_image(name, error) from None
    if not isinstance(data, bytes):
        raise BadImageError(f"{name}: open the file in binary mode; its content is {type(data).__name__}")
    if len(data) > most:
        raise BadImageError(f"{name}: larger than {IMAGE_BYTES}")
    if not data:
        raise BadImageError(f"{name}: nothing left to read in the open file; if it was read before, seek(0)")
    return data


def _from_pixels(name: str, pixels: NDArray[Any], given: object) -> Image:
    """Pixels (H, W) or (H, W, C); but for plain RGB through Pillow, which reads files of such pixels too."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    kind, grey = pixels.dtype.name, pixels.ndim == 2 or (pixels.ndim == 3 and channels == 1)
    if not pixels.size or not (
        (grey and kind in _GREY_TYPES) or (channels in (3, 4) and kind in ("uint8", "uint16"))
    ):
        raise _wrong(name, given)
    if channels == 3 and kind == "uint8":
        return DecodedImage(name, np.ascontiguousarray(pixels))
    if grey:
        pixels = pixels.reshape(pixels.shape[:2])
    if kind == "bool":
        pixels = pixels.astype(np.uint8) * 255
    elif kind == "float64":
        pixels = pixels.astype(np.float32)
    elif kind == "uint16" and not grey:
        pixels = (pixels >> 8).astype(np.uint8)  # as files of 16-bit colour are read
    return PillowImage(name, PIL.Image.fromarray(np.ascontiguousarray(pixels)))


def _wrong(name: str, given: object) -> BadImageError:
    shape, dtype = getattr(given, "shape", None), getattr(given, "dtype", None)
    detail = "" if shape is None or dtype is None else f" of {dtype} {tuple(shape)}"
    return BadImageError(
        f"{name}: an image is a path, bytes, an open file, a Pillow image, or uint8 RGB pixels (H, W, 3) of "
        "NumPy or (3, H, W) of PyTorch, with 1 or 4 channels too; "
        f"got {type(given).__name__}{detail}"
    )


def _is_tensor(given: object) -> TypeGuard[Tensor]:
    torch = sys.modules.get("torch")  # where nobody imported it, nobody has a tensor
    return torch is not None and isinstance(given, torch.Tensor)
