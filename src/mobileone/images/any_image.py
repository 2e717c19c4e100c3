"""From anything that holds a picture to an image as the transforms take it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias, Union

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
    import torch

    if isinstance(given, PIL.Image.Image):
        given = np.array(given.convert("RGB"))
    if isinstance(given, np.ndarray) and given.dtype == np.uint8 and given.ndim == 3 and given.shape[2] == 3:
        given = torch.from_numpy(np.ascontiguousarray(given)).permute(2, 0, 1)  # (H, W, C) → (C, H, W)
    if (
        isinstance(given, torch.Tensor)
        and given.dtype == torch.uint8
        and given.ndim == 3
        and given.shape[0] == 3
    ):
        return DecodedImage("image", given)
    shape = f" of {given.dtype} {tuple(given.shape)}" if isinstance(given, np.ndarray | torch.Tensor) else ""
    raise ConfigError(
        "an image is a path, a Pillow image, uint8 (H, W, 3) of NumPy or uint8 (3, H, W) of PyTorch, "
        f"got {type(given).__name__}{shape}"
    )
