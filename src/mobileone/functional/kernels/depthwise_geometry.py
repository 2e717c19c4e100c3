"""What the depthwise C kernels are told of a convolution: sizes, pieces of the batch, classes of pixels."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from mobileone.functional.window import Window

# Tasks to cut a call into where there are fewer blocks of channels, and the elements that are worth a task.
NUM_TASKS = 32
LANES = 16
TASK_ELEMENTS = 1 << 16

_SIZES = ("images", "height", "width", "channels", "out_height", "out_width")
_WINDOW = ("kernel", "stride", "pad", "dilation")


class DepthwiseShape(ctypes.Structure):
    """`Shape` of ring.h."""

    _fields_ = tuple(
        (name, ctypes.c_int64) for name in (*_SIZES, *(f"{name}_{axis}" for name in _WINDOW for axis in "hw"))
    )

    @classmethod
    def of(cls, x: Tensor, window: Window) -> DepthwiseShape:
        """Of a convolution of x (N, C, H, W)."""
        n, c, h, w = x.shape
        return cls(n, h, w, c, *window.output_size(h, w), *window.flat())


def num_groups(x: Tensor) -> int:
    """Pieces of the batch that make enough tasks; by shape alone, so results do not depend on threads."""
    return min(len(x), max(1, NUM_TASKS * LANES // x.shape[1]), max(1, x.numel() // TASK_ELEMENTS))


@functools.lru_cache(maxsize=256)
def tap_classes(size: int, axis: int, window: Window) -> tuple[Tensor, Tensor, int]:
    """For each pixel along an axis, the taps it can be; pixels of equal sets are a class.

    Args:
        size: pixels along the axis.
        axis: 0 for rows, 1 for columns.
        window: of the convolution.

    Returns:
        The class of each pixel (size,), the set of each class as bits (classes,), and the number of classes.
    """
    kernel, stride, padding, dilation = (pair[axis] for pair in window)
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    sets = []
    for pixel in range(size):
        starts = [divmod(pixel + padding - tap * dilation, stride) for tap in range(kernel)]
        sets.append(sum((rest == 0 and 0 <= out < outputs) << tap for tap, (out, rest) in enumerate(starts)))
    distinct = list(dict.fromkeys(sets))
    return torch.tensor([distinct.index(taps) for taps in sets]), torch.tensor(distinct), len(distinct)
