"""Integers and what they stand for."""

import numpy as np
import pytest

from mobileone.backends.quantized_network import GATE, INT8_MAX, INT8_MIN, STEPS, Int8Encoding


def test_a_step_is_that_of_the_whole_tensor():
    assert Int8Encoding((0.25,), 3).step == 0.25
    with pytest.raises(ValueError, match="too many values"):
        _ = Int8Encoding((0.25, 0.5)).step


def test_gates_reach_from_zero_to_almost_one():
    ends = [GATE.step * (end - GATE.zero_point) for end in (INT8_MIN, INT8_MAX)]
    assert ends == [0, STEPS / 256]


def test_a_calibrated_network_is_complete(quantized):
    """Every convolution has integers that int8 holds, a scale a row, a bias and a range for its output."""
    for conv in quantized.layers.convs:
        weight = quantized.weights[conv.name]
        assert weight.values.dtype == np.int8
        assert weight.values.shape == conv.weight.shape
        assert weight.scale.shape == weight.bias.shape == (conv.out_channels,)
        assert weight.bias.dtype == np.int32
        assert conv.name in quantized.activations
    assert {"image", "pooled"} <= quantized.activations.keys()
    assert quantized.border.tolist() == [124, 116, 104], "255 times ImageNet's mean"
