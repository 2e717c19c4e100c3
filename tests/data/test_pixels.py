"""From uint8 pixels to a network's input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mobileone.data.pixels import normalize, to_tensor
from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec


def test_normalize_is_the_formula():
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    spec = InputSpec()
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (spec.mean, spec.std)
    )
    expected = (images.double() / 255 - mean) / std
    result = normalize(images, spec)
    assert result.dtype == torch.float32
    assert (result - expected).abs().max() < 1e-6
    assert images.dtype == torch.uint8
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(normalize(images, spec, dtype=dtype), result.to(dtype))


def test_normalize_keeps_the_memory_format():
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert normalize(images, InputSpec()).is_contiguous()
    last = images.to(memory_format=torch.channels_last)
    assert normalize(last, InputSpec()).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalize_gives_the_same_bits_in_every_memory_format_and_leaves_the_pixels(channels, dtype):
    images = torch.randint(0, 256, (2, channels, 5, 7), dtype=torch.uint8).to(dtype)
    last, before = images.contiguous(memory_format=torch.channels_last), images.clone()
    spec = InputSpec(mean=(0.4, 0.5, 0.3)[:channels], std=(0.2, 0.25, 0.3)[:channels])
    assert torch.equal(normalize(images, spec), normalize(last, spec))
    assert torch.equal(images, before)
    assert torch.equal(last, before)


def test_normalize_to_grey():
    image = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    grey = normalize(image, InputSpec(mean=(0.0,), std=(1.0,)))
    assert grey.shape == (1, 1, 4, 4)
    assert grey[0, 0, 0, 0].item() == pytest.approx(0.299, abs=1e-6)
    single = torch.full((1, 1, 4, 4), 51, dtype=torch.uint8)
    assert normalize(single, InputSpec(mean=(0.1,), std=(0.5,))).mean().item() == pytest.approx(0.2, abs=1e-6)


def test_normalize_refuses_other_channel_counts():
    with pytest.raises(ConfigError, match="images have 3 channels, the model takes 4"):
        normalize(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), InputSpec.for_channels(4))


def test_normalize_constants_made_in_inference_serve_training():
    spec = InputSpec(mean=(math.pi / 7,) * 3, std=(math.e / 9,) * 3)  # not in the cache yet
    images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    with torch.inference_mode():
        normalize(images, spec)
    weight = torch.ones(1, requires_grad=True)
    (normalize(images, spec) * weight).sum().backward()
    assert weight.grad is not None


def test_decoded_pixels_become_a_view_and_read_only_ones_a_copy():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    tensor = to_tensor(pixels)
    assert tensor.shape == (3, 2, 4)
    assert np.shares_memory(tensor.numpy(), pixels)
    pixels.flags.writeable = False
    assert torch.equal(to_tensor(pixels), tensor)
