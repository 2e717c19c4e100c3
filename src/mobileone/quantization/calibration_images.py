"""The photos that a network is calibrated on, and what is suspicious about them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from mobileone.data.photos import photo_pixels, unlabelled_photos
from mobileone.errors import ConfigError, DataError
from mobileone.input_spec import InputSpec

DEFAULT_IMAGES = 100
# Fewer photos than these leave most channels' ranges to chance.
FEW = 16
FLAT = 2.0


def calibration_images(
    source: str | os.PathLike[str], spec: InputSpec, *, num_images: int | None = None, seed: int = 0
) -> Tensor:
    """Photos of a place, chosen by a seed, resized and cut as the network will see them.

    Args:
        source: as of `unlabelled_photos`: a folder, a list, shards and so on.
        spec: the network's.
        num_images: how many; None takes 100, or all where there are fewer.
        seed: of the choice, which does not depend on the order of a folder's listing.

    Returns:
        uint8 (N, 3, size, size).

    Raises:
        DataError: if there is no such place, no image or fewer than `num_images`.
        BadImageError: if a chosen image cannot be decoded; the message names it.
    """
    if num_images is not None and num_images < 1:
        raise ConfigError(f"num_images must be at least 1, got {num_images}")
    photos = unlabelled_photos(source)
    if num_images is not None and num_images > len(photos):
        raise DataError(f"{num_images} calibration images are wanted, {source} holds {len(photos)}")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(photos), generator=generator)[: num_images or DEFAULT_IMAGES]
    return photo_pixels((photos[i] for i in sorted(chosen.tolist())), spec)


def doubts(pixels: Tensor, logits: Tensor) -> Sequence[str]:
    """What makes these images a poor sample of what the network will see: one line each, with the reason.

    Args:
        pixels: uint8 (N, C, H, W).
        logits: of the float network, (N, classes).
    """
    found = []
    contrast = pixels.float().flatten(1).std(1)
    if bool((contrast < FLAT).all()):
        found.append(
            "every calibration image is one colour (all black, say): most channels never fire on them, so "
            "their ranges are guesses and photos will be cut off; calibrate on real photos"
        )
    elif bool((contrast < FLAT).any()):
        flat = int((contrast < FLAT).sum())
        found.append(f"{flat} of {len(pixels)} calibration images are one colour: they tell little of ranges")
    elif len(pixels) >= FEW and logits.shape[1] > 1 and len(set(logits.argmax(1).tolist())) == 1:
        found.append(
            "the network sees one class in every calibration image: channels of the other classes hardly "
            "fire, so their ranges are too small; calibrate on images of all classes"
        )
    if len(pixels) < FEW:
        found.append(
            f"{len(pixels)} calibration images leave ranges and corrections to chance; take {DEFAULT_IMAGES}"
        )
    return found
