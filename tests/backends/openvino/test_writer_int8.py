"""Int8 OpenVINO graphs run in int8."""

import numpy as np
import pytest

from mobileone.backends.openvino.writer_int8 import openvino_int8_model
from mobileone.quantization.simulate import simulate

ov = pytest.importorskip("openvino", reason="needs mobileone[openvino]")
HINTS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


def test_any_number_of_images(quantized, other_pictures):
    """A fixed number is in tests/contract, for every runtime."""
    compiled = ov.Core().compile_model(openvino_int8_model(quantized, batch=None), "CPU", HINTS)
    wanted = simulate(quantized, other_pictures, head="static").numpy()
    images = other_pictures.permute(0, 2, 3, 1).contiguous().numpy()
    for batch in (images, images[:1]):
        np.testing.assert_allclose(compiled(batch)[0], wanted[: len(batch)], rtol=0, atol=0.04 * wanted.std())


def test_every_convolution_runs_in_int8(quantized):
    """As the plugin tells of the graph that it made."""
    compiled = ov.Core().compile_model(openvino_int8_model(quantized), "CPU", HINTS)
    convs = [
        node
        for node in compiled.get_runtime_model().get_ordered_ops()
        if node.get_rt_info()["layerType"].astype(str) == "Convolution"
    ]
    precisions = [node.get_rt_info()["runtimePrecision"].astype(str) for node in convs]
    assert len(precisions) >= len(quantized.layers.convs)
    assert set(precisions) <= {"u8", "i8"}
