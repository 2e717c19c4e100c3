"""Int8 .tflite files hold integers alone, whatever the image's size."""

import copy

import numpy as np
import pytest

from mobileone.backends.fused_layers import layers_of
from mobileone.backends.litert.writer_int8 import litert_int8_model
from mobileone.backends.quiet import quiet
from mobileone.exporting.parity import seeded_pictures
from mobileone.quantization.quantize_layers import quantize_layers
from mobileone.quantization.simulate import simulate


def test_nothing_but_the_average_is_float(quantized):
    """Between the bytes and the average every tensor with a place for each pixel is int8."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs mobileone[litert]")
    with quiet():
        session = interpreter.Interpreter(model_content=litert_int8_model(quantized))
        session.allocate_tensors()
    maps = [t for t in session.get_tensor_details() if len(t["shape"]) == 4 and min(t["shape"][1:3]) > 1]
    floats = {t["name"] for t in maps if t["dtype"] == np.float32}
    assert floats <= {"pixels", "features"}
    assert len(maps) > len(quantized.layers.convs)


def test_odd_sizes_have_a_border_on_all_sides(small_network, execute):
    odd = copy.deepcopy(small_network)
    odd.set_input_size(33)
    images = seeded_pictures(odd.input_spec, number=8)
    quantized = quantize_layers(layers_of(odd), images)
    wanted = simulate(quantized, images[:2], head="dynamic").numpy()
    got = execute(litert_int8_model(quantized, batch=2), images[:2].permute(0, 2, 3, 1).contiguous().numpy())
    np.testing.assert_allclose(got, wanted, rtol=0, atol=0.04 * wanted.std())
