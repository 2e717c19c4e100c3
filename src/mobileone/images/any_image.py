"""From anything that holds a picture to an image as the transforms take it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, Union

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mobileone.errors import ConfigError
from mobileone.images.decode import DecodedImage, EncodedImage, Image, read_image

if TYPE_CHECKING:
    from torch import Tensor

AnyImage: TypeAlias = Union[str, os.PathLike[str], Image, PIL.Image.Image, NDArray[np.uint8], "Tensor"]
"""A path, an `Image`, or RGB pixels: Pillow's, NumPy's uint8 (H, W, 3), PyTorch's uint8 (3, H, W)."""


def as_image(given: AnyImage) -> Image:
    """Any kind of image as the transforms take it.

    Raises:
        BadImageError: if a file cannot be read.
        ConfigError: if it is none of them.

    >>> as_image(np.zeros((4, 6, 3), dtype=np.uint8)).width
    6
    """
    if isinstance(given, str | os.PathLike):
        return read_image(os.fspath(given))
    # The known kinds first: asking a file's content for an `Image`'s properties would read its header.
    if isinstance(given, EncodedImage | DecodedImage | Image):
        return given
    if isinstance(given, PIL.Image.Image):
        return DecodedImage("image", np.array(given.convert("RGB")))
    pixels = given
    if _is_tensor(given):
        pixels = given.numpy(force=True)
        pixels = np.moveaxis(pixels, 0, 2) if pixels.ndim == 3 else pixels  # (C, H, W) → (H, W, C)
    is_rgb = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape[2:] == (3,)
    if is_rgb:
        return DecodedImage("image", np.ascontiguousarray(pixels))
    shape = f" of {given.dtype} {tuple(given.shape)}" if isinstance(pixels, np.ndarray) else ""
    raise ConfigError(
        "an image is a path, a Pillow image, uint8 (H, W, 3) of NumPy or uint8 (3, H, W) of PyTorch, "
        f"got {type(given).__name__}{shape}"
    )


def _is_tensor(given: object) -> TypeGuard[Tensor]:
    torch = sys.modules.get("torch")  # where nobody imported it, nobody has a tensor
    return torch is not None and isinstance(given, torch.Tensor)
