"""Resizing, held against Pillow's."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.data.pixels import to_tensor
from mobileone.data.resize import resize

PILLOW_FILTERS = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}


def to_array(tensor):
    return tensor.permute(1, 2, 0).numpy().astype(int)


@pytest.mark.parametrize("size", [(30, 40), (100, 50), (17, 90), (128, 128), (61, 83)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_is_pillows(picture, size, interpolation):
    for seed in range(4):
        image = picture(seed, 61, 83)
        ours = to_array(resize(to_tensor(np.array(image)), size, interpolation=interpolation))
        pillows = np.asarray(image.resize(size[::-1], PILLOW_FILTERS[interpolation])).astype(int)
        assert np.abs(ours - pillows).max() <= (1 if interpolation == "bilinear" else 2)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_of_real_photos_is_pillows(photos, interpolation):
    for index in range(0, len(photos), 15):
        pixels = photos.read(index).decode()
        image = PIL.Image.fromarray(pixels)
        for size in ((256, 256), (96, 96), (256, 341)):
            ours = to_array(resize(to_tensor(pixels), size, interpolation=interpolation))
            pillows = np.asarray(image.resize(size[::-1], PILLOW_FILTERS[interpolation])).astype(int)
            difference = np.abs(ours - pillows)
            if interpolation == "bilinear":
                assert difference.max() <= 1
            else:  # overshoot is clipped between the two passes, whose order is each library's own
                assert (difference > 1).mean() < 0.005
                assert difference.mean() < 0.1


def test_resize_does_not_depend_on_memory_layout_or_threads(picture):
    pixels = to_tensor(np.array(picture(5, 100, 120)))
    part = pixels[:, 10:90, 7:77]
    expected = resize(part, (50, 60))
    assert torch.equal(resize(part.contiguous(), (50, 60)), expected)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert torch.equal(resize(part, (50, 60)), expected)
    finally:
        torch.set_num_threads(threads)
    assert resize(pixels, (100, 120)) is pixels
