"""Which pictures are the same photo, coded or scaled another way: difference hashes, then thumbnails."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileone.data.pixels import to_tensor
from mobileone.data.resize import resize
from mobileone.data.source import ImageSource
from mobileone.input_spec import LUMA

MAX_BITS = 2
"""Bits of 64 in which the hashes of one photo may differ, coded or scaled another way."""

MAX_LEVELS = 10.0
"""Grey levels by which their thumbnails may differ on average; pictures of little detail share hashes too."""

MAX_BUCKET = 256  # pictures with the same 16 bits; more of them are no photos but blank or drawn alike


def difference_hash(pixels: Tensor) -> int:
    """64 bits: whether the picture, 9×8 pixels of grey, gets lighter from each pixel to the next.

    The same for the same picture at another size or quality, but for a few bits (N. Krawetz's "dHash").

    Args:
        pixels: uint8 (3, H, W).

    >>> difference_hash(torch.arange(64, dtype=torch.uint8).repeat(3, 64, 1)) == 2**64 - 1
    True
    """
    small = resize(pixels, (8, 9)).double()
    grey = (small * torch.tensor(LUMA, dtype=torch.float64).view(3, 1, 1)).sum(0)
    bits = (grey[:, 1:] > grey[:, :-1]).reshape(-1).numpy()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def close_pairs(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Positions of hashes, one of each, that are at most 2 bits apart, sorted.

    Hashes that differ in 2 of 64 bits share at least 2 of 4 quarters, so looking at equal quarters finds all;
    quarters that hundreds of the first share are left out.

    >>> close_pairs(np.array([0, 7], np.uint64), np.array([3], np.uint64))
    [(0, 0), (1, 0)]
    """
    pairs: set[tuple[int, int]] = set()
    for quarter in range(4):
        buckets = _buckets(first, quarter)
        for position, value in enumerate(second.tolist()):
            bucket = buckets.get(value >> (16 * quarter) & 0xFFFF)
            if bucket is None or len(bucket) > MAX_BUCKET:
                continue
            apart = np.bitwise_count(first[bucket] ^ np.uint64(value))
            pairs |= {(int(other), position) for other in bucket[apart <= MAX_BITS]}
    return sorted(pairs)


def look_alike(first: ImageSource, index: int, second: ImageSource, other: int) -> bool:
    """Whether the thumbnails of two images are at most 10 grey levels apart on average."""
    difference = _thumbnail(first, index) - _thumbnail(second, other)
    return float(difference.abs().mean()) <= MAX_LEVELS


def _thumbnail(source: ImageSource, index: int) -> Tensor:
    """Float (3, 32, 32), 0..255."""
    return resize(to_tensor(source.read(index).decode()), (32, 32)).float()


def _buckets(hashes: NDArray[np.uint64], quarter: int) -> dict[int, NDArray[np.int64]]:
    """Positions of hashes by a quarter of their bits."""
    keys = ((hashes >> np.uint64(16 * quarter)) & np.uint64(0xFFFF)).astype(np.int64)
    order = np.argsort(keys, kind="stable")
    values, starts = np.unique(keys[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True))
