"""A whole image inside a frame of another shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def inside(shape: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) of an image's shape that fits into a frame; at least one pixel each.

    >>> inside((100, 200), (64, 64)), inside((100, 200), (64, 200))
    ((32, 64), (64, 128))
    """
    (height, width), (most_height, most_width) = shape, frame
    if most_height * width <= most_width * height:
        return most_height, max(1, round(most_height * width / height))
    return max(1, round(most_width * height / width)), most_width


def with_border(image: Tensor, frame: tuple[int, int], colour: tuple[int, int, int]) -> Tensor:
    """The image in the middle of a frame; where that does not come out even, nearer to its top and left.

    Args:
        image: uint8 (3, H, W), no larger than the frame.
        frame: (height, width), pixels.
        colour: of the border, RGB.

    Returns:
        uint8 (3, *frame), laid out channels last; the image itself if it fills the frame.
    """
    height, width = image.shape[-2:]
    if (height, width) == frame:
        return image
    import torch

    canvas = torch.tensor(colour, dtype=torch.uint8).repeat(*frame, 1)  # (H, W, C)
    top, left = (frame[0] - height) // 2, (frame[1] - width) // 2
    canvas[top : top + height, left : left + width] = image.permute(1, 2, 0)
    return canvas.permute(2, 0, 1)
