"""Floats hold the integers exactly, and the whole is near the float network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mobileone.backends.fused_layers import ConvLayer
from mobileone.backends.quantized_network import QuantizedWeight
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.quantization.layer_errors import compare_logits
from mobileone.quantization.simulate import accumulate, dynamic, integer_outputs, simulate


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


def test_int8_is_near_float(small_network, quantized, small_pictures):
    report = compare_logits(
        TorchClassifier(small_network).logits(small_pictures), simulate(quantized, small_pictures)
    )
    assert report.sqnr_db > 25
    assert report.agreement > 90


def test_every_tensor_stays_in_eight_bits(quantized, other_pictures):
    for _, integers, encoding in integer_outputs(quantized, other_pictures):
        whole = integers + encoding.zero_point
        assert whole.min() >= -128
        assert whole.max() <= 127
        assert (whole == whole.round()).all()


def test_a_scale_of_each_rows_own():
    """Eight bits over each row's range, zero exactly among them."""
    x = torch.tensor([[0.0, 1.0, 2.55], [-1.0, 0.0, 0.01]])
    got = dynamic(x)
    torch.testing.assert_close(got[0], x[0], rtol=0, atol=1e-6)
    assert got[1, 1] == 0
    step = 1.01 / 255
    assert (got[1] - x[1]).abs().max() <= step / 2 + 1e-6
