"""The first convolution reads pairs of columns, inside a border of the mean colour."""

import numpy as np
import torch
from torch.nn import functional as F

from mobileone.backends.xnnpack_input import border_strips, bordered_outside, paired_columns, reads_pairs


def test_pairs_of_columns_are_the_same_convolution(quantized, other_pictures):
    conv = quantized.layers.convs[0]
    assert reads_pairs(conv, 32)
    assert not reads_pairs(conv, 33)
    paired = paired_columns(quantized).layers.convs[0]
    x = other_pictures.float()
    wanted = F.conv2d(x, torch.from_numpy(conv.weight), None, 2, 1)
    n, c, height, width = x.shape
    pairs = x.permute(0, 2, 3, 1).reshape(n, height, width // 2, 2 * c).permute(0, 3, 1, 2)
    got = F.conv2d(F.pad(pairs, (1, 0, 1, 0)), torch.from_numpy(paired.weight), None, (2, 1))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-2)


def test_strips_around_an_image_are_the_border(quantized):
    """As NumPy pads it, though every channel has a colour of its own."""
    colour = np.array([130, 7, 255], np.uint8)
    image = np.random.default_rng(0).integers(-128, 128, (2, 4, 5, 3)).astype(np.int8)
    margins, got = ((1, 0), (2, 1)), image
    for axis, before, behind in border_strips(colour, image.shape, margins):
        got = np.concatenate([before, got, behind], axis)
    signed = (colour.astype(int) - 128).astype(np.int8)
    for channel in range(3):
        wanted = np.pad(image[..., channel], ((0, 0), *margins), constant_values=signed[channel])
        assert np.array_equal(got[..., channel], wanted)


def test_an_image_read_by_single_columns_has_a_border_on_all_sides(quantized):
    paired, shape, margins = bordered_outside(quantized)
    assert (shape, margins) == ((32, 16, 6), ((1, 0), (1, 0)))
    assert paired.layers.convs[0].padding == (0, 0)
    from dataclasses import replace

    spec = replace(quantized.layers.input_spec, size=33)
    odd = replace(quantized, layers=replace(quantized.layers, input_spec=spec))
    _, shape, margins = bordered_outside(odd)
    assert (shape, margins) == ((33, 33, 3), ((1, 1), (1, 1)))
