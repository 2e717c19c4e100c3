"""Int8 .pte files are one delegate of integer operators."""

import numpy as np
import pytest
import torch

from mobileone.backends.artifact import Artifact
from mobileone.backends.executorch.writer_int8 import Int8Conv, Int8Network, check
from mobileone.backends.quiet import quiet
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.quantization.quantize import write_quantized
from mobileone.quantization.simulate import simulate

pytest.importorskip("executorch", reason="needs mobileone[executorch]")


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


def test_one_delegate_of_integers(small_network, quantized, other_pictures, tmp_path):
    """One delegate of integer operators, and the simulator's logits: one test, for writing takes seconds."""
    (graph,) = write_executorch(small_network, quantized, other_pictures, tmp_path / "int8.pte")
    artifact = Artifact(tmp_path / "int8.pte", threads=1)
    assert artifact.session.precision == "int8"
    assert artifact.manifest.tensor.shape(4) == (4, 32, 32, 3)
    wanted = simulate(quantized, other_pictures, head="dynamic").numpy()
    np.testing.assert_allclose(
        artifact.logits(other_pictures).numpy(), wanted, rtol=0, atol=0.01 * wanted.std()
    )

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


def test_a_float_island_shows():
    """The guard of the test above: what reads a float map is named, and what reads a float vector is not."""
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


def test_biases_are_rounded_back_to_their_integers(quantized):
    check()  # registers the rounding
    network = Int8Network(quantized, batch=1)
    convs = [layer for layer in network.convs if isinstance(layer, Int8Conv)]
    rounding = torch.ops.quantized_decomposed.quantize_per_channel.default
    for conv, layer in zip(quantized.layers.convs, convs, strict=True):
        scale = layer.weight.scale * layer.source.step
        whole = rounding(layer.bias, scale, torch.zeros_like(scale), 0, -(2**31), 2**31 - 1, torch.int32)
        np.testing.assert_array_equal(whole.numpy(), quantized.weights[conv.name].bias)
