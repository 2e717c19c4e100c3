"""A whole image inside a frame of another shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def inside(shape: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) of an image's shape that fits into a frame; at least one pixel each.

    >>> inside((100, 200), (64, 64)), inside((100, 200), (64, 200))
    ((32, 64), (64, 128))
    """
    (height, width), (most_height, most_width) = shape, frame
    if most_height * width <= most_width * height:
        return most_height, max(1, round(most_height * width / height))
    return max(1, round(most_width * height / width)), most_width


def with_border(
    pixels: NDArray[np.uint8], frame: tuple[int, int], colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """The image in the middle of a frame; where that does not come out even, nearer to its top and left.

    Args:
        pixels: uint8 (H, W, 3), no larger than the frame.
        frame: (height, width), pixels.
        colour: of the border, RGB.

    Returns:
        uint8 (*frame, 3); the image itself if it fills the frame.
    """
    height, width = pixels.shape[:2]
    if (height, width) == frame:
        return pixels
    canvas = np.empty((*frame, 3), dtype=np.uint8)
    canvas[:] = colour
    top, left = (frame[0] - height) // 2, (frame[1] - width) // 2
    canvas[top : top + height, left : left + width] = pixels
    return canvas
