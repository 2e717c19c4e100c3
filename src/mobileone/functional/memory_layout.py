"""Activations as memory holds them: channels_last, and as rows of pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W) in channels_last: itself where it is, else a copy."""
    return x.contiguous(memory_format=torch.channels_last)


def pixel_rows(x: Tensor) -> Tensor:
    """(N, C, H, W) as (N·H·W, C): a view where x is channels_last, else a copy.

    >>> x = torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    >>> pixel_rows(x).shape, pixel_rows(x).data_ptr() == x.data_ptr()
    (torch.Size([40, 3]), True)
    """
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
