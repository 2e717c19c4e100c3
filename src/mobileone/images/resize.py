"""Resizing with antialiasing, as Pillow resizes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mobileone.input_spec import Interpolation


def resize(image: Tensor, size: tuple[int, int], *, interpolation: Interpolation = "bilinear") -> Tensor:
    """Resize with antialiasing, as Pillow does (within one grey level).

    Args:
        image: uint8 (C, H, W).
        size: new (height, width), pixels.
        interpolation: filter.

    Returns:
        uint8 (C, *size), laid out channels last; the image itself if it has that size.

    >>> resize(torch.zeros(3, 10, 20, dtype=torch.uint8), (5, 10)).shape
    torch.Size([3, 5, 10])
    """
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    # Packed like this, torch's vectorised loops read and write pixel by pixel; a view into a larger image,
    # such as a crop, would be copied colour by colour first, and takes up to twice the time.
    packed = image[None].contiguous(memory_format=torch.channels_last)
    return F.interpolate(packed, size, mode=interpolation, antialias=True)[0]
