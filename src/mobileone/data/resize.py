"""Resizing with antialiasing, as Pillow resizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobileone.input_spec import Interpolation

if TYPE_CHECKING:
    from torch import Tensor


def resize(image: Tensor, size: tuple[int, int], *, interpolation: Interpolation = "bilinear") -> Tensor:
    """Resize with antialiasing, as Pillow does (within one grey level).

    Args:
        image: uint8 (C, H, W).
        size: new (height, width), pixels.
        interpolation: filter.

    Returns:
        uint8 (C, *size), laid out channels last; the image itself if it has that size.

    >>> import torch
    >>> resize(torch.zeros(3, 10, 20, dtype=torch.uint8), (5, 10)).shape
    torch.Size([3, 5, 10])
    """
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    import torch

    # Packed like this, torch's vectorised loops read and write pixel by pixel; a view into a larger image,
    # such as a crop, would be copied colour by colour first, and takes up to twice the time.
    packed = image[None].contiguous(memory_format=torch.channels_last)
    return torch.nn.functional.interpolate(packed, size, mode=interpolation, antialias=True)[0]
