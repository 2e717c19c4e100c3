"""Int8 .onnx files are what ONNX Runtime fuses whole."""

import numpy as np
import pytest

from mobileone.backends.onnx.writer_int8 import onnx_int8_model
from mobileone.quantization.simulate import simulate

onnx = pytest.importorskip("onnx", reason="needs mobileone[onnx]")
ort = pytest.importorskip("onnxruntime", reason="needs mobileone[onnx]")


def test_any_number_of_images(quantized, unsaturated_pictures):
    """A fixed number is in tests/contract, for every runtime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(onnx_int8_model(quantized, batch=None), options)
    wanted = simulate(quantized, unsaturated_pictures, head="static").numpy()
    images = unsaturated_pictures.permute(0, 2, 3, 1).contiguous().numpy()
    for batch in (images, images[:1]):
        (got,) = session.run(None, {"images": batch})
        np.testing.assert_allclose(got, wanted[: len(batch)], rtol=0, atol=0.04 * wanted.std())


def test_rounding_is_the_relu(quantized):
    kinds = [n.op_type for n in onnx.load_from_string(onnx_int8_model(quantized)).graph.node]
    attention = sum(conv.attention is not None for conv in quantized.layers.convs)
    assert kinds.count("Relu") == attention > 0, "inside the attention alone"
    assert kinds.count("QuantizeLinear") >= len(quantized.layers.convs)


def test_onnx_runtime_fuses_every_convolution(quantized, tmp_path):
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(onnx_int8_model(quantized), options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    assert kinds.count("QLinearConv") == len(quantized.layers.convs)
    assert "Conv" not in kinds
