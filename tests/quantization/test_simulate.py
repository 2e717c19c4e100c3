"""Floats hold the integers exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mobileone.backends.fused_layers import ConvLayer
from mobileone.backends.quantized_network import QuantizedWeight
from mobileone.quantization.simulate import accumulate


@pytest.mark.parametrize("bias", [0, 2**24 - 1, 2**31 - 1])
@pytest.mark.parametrize("channels", [16, 640])
def test_sums_are_what_int32_gives(channels, bias):
    """As float32, to which a runtime converts its int32; 640 channels and large biases exceed its 24 bits."""
    generator = np.random.default_rng(0)
    values = generator.integers(-127, 128, (4, channels, 1, 1)).astype(np.int8)
    values[0] = 127  # the largest sum there is
    weight = QuantizedWeight(
        values=values, scale=np.ones(4, np.float32), bias=np.array([bias, -bias, 1, 0], np.int32)
    )
    x = generator.integers(0, 256, (2, channels, 3, 3))
    x[0] = 255
    conv = ConvLayer(name="conv", weight=values.astype(np.float32), bias=np.zeros(4, np.float32))
    wanted = np.einsum("oc,nchw->nohw", values[:, :, 0, 0].astype(np.int64), x)
    wanted = wanted + weight.bias.astype(np.int64)[:, None, None]
    got = accumulate(conv, weight, torch.from_numpy(x).float())
    assert np.array_equal(got.float().numpy(), wanted.astype(np.float32))
    other = replace(weight, bias=weight.bias + np.array([0, 0, 1, 0], np.int32))
    assert not np.array_equal(accumulate(conv, other, torch.from_numpy(x).float()).numpy(), got.numpy())
