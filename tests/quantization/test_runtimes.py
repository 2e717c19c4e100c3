"""Every runtime computes the simulator's integers."""

import copy

import numpy as np
import pytest
import torch

from mobileone.backends.artifact import Artifact
from mobileone.backends.executorch.writer_int8 import Int8Conv, Int8Network
from mobileone.backends.fused_layers import layers_of
from mobileone.backends.litert.writer_int8 import litert_int8_model
from mobileone.backends.onnx.writer_int8 import onnx_int8_model
from mobileone.backends.openvino.writer_int8 import openvino_int8_model
from mobileone.backends.quiet import quiet
from mobileone.backends.table import BACKENDS, require
from mobileone.backends.xnnpack_input import paired_columns, reads_pairs
from mobileone.exporting.parity import seeded_pictures
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.quantization.calibrate import calibrate
from mobileone.quantization.layer_errors import compare_logits, trace_errors
from mobileone.quantization.quantize import write_quantized
from mobileone.quantization.simulate import integer_outputs, simulate


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


def write_executorch(model, quantized, images, path):
    """An int8 .pte artifact; the graphs of XNNPACK's delegates in it."""
    with quiet():
        from executorch.backends.xnnpack import xnnpack_preprocess
    graphs, write = [], xnnpack_preprocess.serialize_xnnpack_binary
    spy = lambda graph, data: graphs.append(graph) or write(graph, data)  # noqa: E731
    expected, options = TorchClassifier(model).logits(images), {"batch": len(images)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xnnpack_preprocess, "serialize_xnnpack_binary", spy)
        write_quantized(
            quantized, model, path, format="executorch", images=images, expected=expected, options=options
        )
    return graphs


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
    report = compare_logits(TorchClassifier(small).logits(pictures), simulate(quantized, pictures))
    assert report.sqnr_db > 25
    assert report.agreement > 90


def test_the_order_of_a_wrong_border_shows(quantized, images):
    """The guard of the four tests above: another border colour is another function."""
    from dataclasses import replace

    black = replace(quantized, border=0 * quantized.border)
    wanted, other = (simulate(each, images).numpy() for each in (quantized, black))
    assert np.abs(wanted - other).max() > 4 * step(wanted)


def test_pairs_of_columns_are_the_same_convolution(quantized, images):
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


def kinds_of(graph, ids):
    """The data types of values, as XNNPACK calls them."""
    values = [graph.xvalues[number].xvalue_union for number in ids]
    return [getattr(value, "tensor_value", value).datatype.name.rpartition("_")[2] for value in values]


def float_maps(graph):
    """What reads a float tensor that has a place for every pixel."""
    shapes = [getattr(v.xvalue_union, "tensor_value", v.xvalue_union).dims for v in graph.xvalues]
    floats = [kind == "fp32" for kind in kinds_of(graph, range(len(shapes)))]
    maps = {i for i, dims in enumerate(shapes) if floats[i] and len(dims) == 4 and min(dims[1:3]) > 1}
    nodes = [node.xnode_union for node in graph.xnodes]
    inputs = [
        {getattr(node, name, None) for name in ("input_id", "input1_id", "input2_id")} for node in nodes
    ]
    return [type(node).__name__ for node, read in zip(nodes, inputs, strict=True) if maps & read]


def test_executorch(small, quantized, images, tmp_path):
    """One delegate of integer operators, and the simulator's logits: one test, for writing takes seconds."""
    pytest.importorskip("executorch")
    (graph,) = write_executorch(small, quantized, images, tmp_path / "int8.pte")
    artifact = Artifact(tmp_path / "int8.pte", threads=1)
    assert artifact.session.precision == "int8"
    assert artifact.manifest.tensor.shape(4) == (4, 32, 32, 3)
    wanted = simulate(quantized, images, head="dynamic").numpy()
    np.testing.assert_allclose(artifact.logits(images).numpy(), wanted, rtol=0, atol=step(wanted))

    with quiet():
        from executorch.exir._serialize._program import deserialize_pte_binary

        (plan,) = deserialize_pte_binary(artifact.path.read_bytes()).program.execution_plan
    assert [operator.name for operator in plan.operators] == ["aten::_to_copy"]  # bytes to floats
    assert len(plan.delegates) == 1
    assert float_maps(graph) == ["XNNConvert"]  # the bytes; behind the last layer a map is one pixel here
    convs = [node.xnode_union for node in graph.xnodes if "Conv2d" in type(node.xnode_union).__name__]
    kinds = [kinds_of(graph, (c.input1_id, c.filter_id, c.bias_id, c.output_id)) for c in convs]
    assert kinds.count(["qint8", "qcint8", "qcint32", "qint8"]) == len(quantized.layers.convs)
    gates = sum(2 for conv in quantized.layers.convs if conv.attention is not None)
    assert kinds.count(["fp32"] * 4) == len(convs) - len(quantized.layers.convs) == gates > 0


def test_a_float_island_in_executorch_shows():
    """The guard of the test above: what reads a float map is named, and what reads a float vector is not."""
    pytest.importorskip("executorch")
    with quiet():
        from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as xnn
    fp32, shapes = xnn.XNNDatatype.xnn_datatype_fp32, ([1, 8, 8, 16], [1, 1, 1, 16])
    values = [
        xnn.XValue(xnn.XNNTensorValue(fp32, len(dims), dims, 0, 0, 0, number))
        for number, dims in enumerate(shapes)
    ]
    nodes = [xnn.XNNSigmoid(1, 1, 0), xnn.XNNAdd(1, 0, 0, 0), xnn.XNNGlobalAvgPooling2d(0, 1, 0)]
    graph = xnn.XNNGraph("0", [xnn.XNode(node, 0) for node in nodes], values, 0, [], [], [])
    assert float_maps(graph) == ["XNNAdd", "XNNGlobalAvgPooling2d"]
    assert kinds_of(graph, [0, 1]) == ["fp32", "fp32"]


def test_executorch_rounds_biases_back_to_their_integers(quantized):
    pytest.importorskip("executorch")
    with quiet():
        require("executorch.exir", BACKENDS["executorch"])  # registers the rounding
    network = Int8Network(quantized, batch=1)
    convs = [layer for layer in network.convs if isinstance(layer, Int8Conv)]
    rounding = torch.ops.quantized_decomposed.quantize_per_channel.default
    for conv, layer in zip(quantized.layers.convs, convs, strict=True):
        scale = layer.weight.scale * layer.source.step
        whole = rounding(layer.bias, scale, torch.zeros_like(scale), 0, -(2**31), 2**31 - 1, torch.int32)
        np.testing.assert_array_equal(whole.numpy(), quantized.weights[conv.name].bias)


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

    from mobileone.backends.quantized_network import Int8Encoding

    name = quantized.layers.convs[2].name
    coarse = Int8Encoding((40 * quantized.activations[name].step,), -128)
    worse = replace(quantized, activations={**quantized.activations, name: coarse})
    first, second = (trace_errors(each, images) for each in (quantized, worse))
    assert second[2].sqnr_db < first[2].sqnr_db - 10


def test_every_tensor_stays_in_eight_bits(quantized, images):
    for _, integers, encoding in integer_outputs(quantized, images):
        whole = integers + encoding.zero_point
        assert whole.min() >= -128
        assert whole.max() <= 127
        assert (whole == whole.round()).all()


def test_other_shapes(small, pictures):
    """Odd sizes have a border on all sides."""
    odd = copy.deepcopy(small)
    odd.set_input_size(33)
    images = seeded_pictures(odd.input_spec, number=8)
    quantized = calibrate(layers_of(odd), images)
    wanted = simulate(quantized, images[:2], head="dynamic").numpy()
    got = run_litert(
        litert_int8_model(quantized, batch=2), images[:2].permute(0, 2, 3, 1).contiguous().numpy()
    )
    np.testing.assert_allclose(got, wanted, rtol=0, atol=4 * step(wanted))


def test_what_the_next_bias_makes_up_for_is_not_counted(quantized, pictures, monkeypatch):
    """A constant on a layer's outputs leaves the report as it is; as much noise of both signs does not."""
    from mobileone.quantization import layer_errors as report

    plain = trace_errors(quantized, pictures)
    one, original = quantized.layers.convs[2].name, report.integer_layer

    def shifted(signs):
        def layer(quantized, conv, x, source):
            integers, encoding = original(quantized, conv, x, source)
            return integers + 5 * signs(integers.shape) if conv.name == one else integers, encoding

        return layer

    shares = []
    for signs in (torch.ones, lambda shape: torch.randn(shape).sign()):
        monkeypatch.setattr(report, "integer_layer", shifted(signs))
        shares.append(trace_errors(quantized, pictures)[2].logit_share)
    assert shares[0] == pytest.approx(plain[2].logit_share, rel=1e-3)
    assert shares[1] > 2 * plain[2].logit_share
