"""From uint8 pixels to a network's input, once, on the device."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileone.errors import ConfigError
from mobileone.input_spec import LUMA, InputSpec


def normalize(images: Tensor, spec: InputSpec, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Network input from pixels, on their device: (x / 255 − mean) / std, in float32, then cast.

    Args:
        images: uint8 (N, C, H, W), any device and memory format.
        spec: gives mean and std. With one value each, RGB images are turned to grey first (ITU-R BT.601).
        dtype: of the result.

    Returns:
        (N, spec.in_chans, H, W) in the memory format of `images`.

    Raises:
        ConfigError: if the channels do not fit.

    >>> white = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    >>> normalize(white, InputSpec(mean=(0.5,) * 3, std=(0.5,) * 3)).max()
    tensor(1.)
    """
    channels = images.shape[1]
    if channels != spec.in_chans and (channels, spec.in_chans) != (3, 1):
        raise ConfigError(
            f"images have {channels} channels, the model takes {spec.in_chans}; use a model of {channels}"
            + (" or 1 channels" if channels == 3 else " channels")
        )
    scale, shift, luma = _pixel_constants(spec.mean, spec.std, images.device)
    pixels = images.to(torch.float32, copy=True)
    if channels != spec.in_chans:
        pixels = (pixels * luma).sum(dim=1, keepdim=True)
    if pixels.is_contiguous(memory_format=torch.channels_last):
        # Along rows as they lie in memory: on a CPU, torch's loops over an axis of 3 take 5 times as long.
        rows = pixels.permute(0, 2, 3, 1).flatten(2)  # a view, (N, H, W·C)
        width = pixels.shape[-1]
        rows.mul_(scale.flatten().repeat(width)).add_(shift.flatten().repeat(width))
    else:
        pixels.mul_(scale).add_(shift)
    return pixels.to(dtype)


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """A decoded image (H, W, C) as torch has images, (C, H, W): a view, or a copy of what is read-only."""
    writable = pixels if pixels.flags.writeable else pixels.copy()  # torch has no tensors to read only
    return torch.from_numpy(writable).permute(2, 0, 1)


@lru_cache(maxsize=16)  # a constant copied to a GPU at every step would make every step wait for the device
def _pixel_constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)

    with torch.inference_mode(False):  # whoever asks first, the constants are fit for training
        scale = column([1 / (255 * s) for s in std])
        return scale, column([-m / s for m, s in zip(mean, std, strict=True)]), column(list(LUMA))
