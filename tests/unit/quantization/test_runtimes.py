"""Every runtime computes the simulator's integers."""

import numpy as np
import pytest

from mobileone.exporting.layers import layers_of
from mobileone.exporting.litert_int8 import litert_int8_model
from mobileone.exporting.onnx_int8 import onnx_int8_model
from mobileone.exporting.openvino_int8 import openvino_int8_model
from mobileone.exporting.parity import reference_logits, seeded_pictures
from mobileone.exporting.xnnpack import paired_columns, reads_pairs
from mobileone.quantization.calibrate import calibrate
from mobileone.quantization.report import compare_logits, trace_errors
from mobileone.quantization.simulate import integer_outputs, simulate
from mobileone.runtime.quiet import quiet


@pytest.fixture(scope="module")
def images(small):
    return seeded_pictures(small.input_spec, number=4, seed=1)


@pytest.fixture(scope="module")
def bytes_in(images):
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def run_litert(content, images):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    with quiet():
        session = interpreter.Interpreter(model_content=content, num_threads=1)
        session.allocate_tensors()
    session.set_tensor(session.get_input_details()[0]["index"], images)
    session.invoke()
    return session.get_tensor(session.get_output_details()[0]["index"])


def run_onnx(content, images):
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(content, options).run(None, {"images": images})[0]


def run_openvino(model, images):
    ov = pytest.importorskip("openvino")
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return ov.Core().compile_model(model, "CPU", hints)(images)[0]


def step(logits):
    """A hundredth of what distinguishes pictures: a wrong integer in the last layers moves less."""
    return 0.01 * logits.std()


def test_litert(quantized, images, bytes_in):
    wanted = simulate(quantized, images, head="dynamic").numpy()
    got = run_litert(litert_int8_model(quantized, batch=4), bytes_in)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=step(wanted))


@pytest.mark.parametrize("batch", [4, None])
def test_onnx(quantized, images, bytes_in, batch):
    wanted = simulate(quantized, images, head="static").numpy()
    got = run_onnx(onnx_int8_model(quantized, batch=batch), bytes_in)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=4 * step(wanted))


@pytest.mark.parametrize("batch", [4, None])
def test_openvino(quantized, images, bytes_in, batch):
    pytest.importorskip("openvino")
    wanted = simulate(quantized, images, head="static").numpy()
    got = run_openvino(openvino_int8_model(quantized, batch=batch), bytes_in)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=4 * step(wanted))


def test_int8_is_near_float(small, quantized, pictures):
    report = compare_logits(reference_logits(small, pictures), simulate(quantized, pictures))
    assert report.sqnr_db > 25
    assert report.agreement > 90


def test_the_order_of_a_wrong_border_shows(quantized, images):
    """The guard of the three tests above: another border colour is another function."""
    from dataclasses import replace

    black = replace(quantized, border=0 * quantized.border)
    wanted, other = (simulate(each, images).numpy() for each in (quantized, black))
    assert np.abs(wanted - other).max() > 4 * step(wanted)


def test_pairs_of_columns_are_the_same_convolution(quantized, images):
    import torch
    from torch.nn import functional as F

    conv = quantized.layers.convs[0]
    assert reads_pairs(conv, 32)
    assert not reads_pairs(conv, 33)
    paired = paired_columns(quantized).layers.convs[0]
    x = images.float()
    wanted = F.conv2d(x, torch.from_numpy(conv.weight), None, 2, 1)
    n, c, height, width = x.shape
    pairs = x.permute(0, 2, 3, 1).reshape(n, height, width // 2, 2 * c).permute(0, 3, 1, 2)
    got = F.conv2d(F.pad(pairs, (1, 0, 1, 0)), torch.from_numpy(paired.weight), None, (2, 1))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-2)


def test_nothing_but_the_average_is_float(quantized):
    """LiteRT: between the bytes and the average every tensor with a place in the batch is int8."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        session = Interpreter(model_content=litert_int8_model(quantized))
        session.allocate_tensors()
    maps = [t for t in session.get_tensor_details() if len(t["shape"]) == 4 and min(t["shape"][1:3]) > 1]
    floats = {t["name"] for t in maps if t["dtype"] == np.float32}
    assert floats <= {"pixels", "features"}
    onnx = pytest.importorskip("onnx")
    kinds = [n.op_type for n in onnx.load_from_string(onnx_int8_model(quantized)).graph.node]
    assert "Relu" not in kinds[: kinds.index("GlobalAveragePool")]
    assert kinds.count("QuantizeLinear") >= len(quantized.layers.convs)


def test_onnx_runtime_fuses_every_convolution(quantized, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(onnx_int8_model(quantized), options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    assert kinds.count("QLinearConv") == len(quantized.layers.convs)
    assert "Conv" not in kinds


def test_errors_are_traced_to_layers(quantized, pictures):
    layers = trace_errors(quantized, pictures)
    assert [layer.name for layer in layers] == [conv.name for conv in quantized.layers.convs]
    assert sum(layer.logit_share for layer in layers) == pytest.approx(1)
    assert min(layer.sqnr_db for layer in layers) > 15


def test_more_bits_would_cost_less(quantized, images):
    """The report's dB follow the integers: an activation with a scale forty times too coarse shows."""
    from dataclasses import replace

    from mobileone.exporting.quantized import Affine

    name = quantized.layers.convs[2].name
    coarse = Affine((40 * quantized.activations[name].step,), -128)
    worse = replace(quantized, activations={**quantized.activations, name: coarse})
    first, second = (trace_errors(each, images) for each in (quantized, worse))
    assert second[2].sqnr_db < first[2].sqnr_db - 10


def test_every_tensor_stays_in_eight_bits(quantized, images):
    for _, integers, affine in integer_outputs(quantized, images):
        whole = integers + affine.zero_point
        assert whole.min() >= -128
        assert whole.max() <= 127
        assert (whole == whole.round()).all()


def test_other_shapes(small, pictures):
    """Odd sizes have a border on all sides."""
    import copy

    odd = copy.deepcopy(small)
    odd.set_input_size(33)
    images = seeded_pictures(odd.input_spec, number=8)
    quantized = calibrate(layers_of(odd), images)
    wanted = simulate(quantized, images[:2], head="dynamic").numpy()
    got = run_litert(
        litert_int8_model(quantized, batch=2), images[:2].permute(0, 2, 3, 1).contiguous().numpy()
    )
    np.testing.assert_allclose(got, wanted, rtol=0, atol=4 * step(wanted))
