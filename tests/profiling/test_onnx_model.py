"""Graphs of modules and of files, checked and named."""

import numpy as np
import pytest
import torch
from torch import nn

import mobileone
from mobileone.errors import ProfileError
from mobileone.profiling import onnx_model
from mobileone.profiling.onnx_model import export_module

from .conftest import NEEDS_PROFILE, X, conv_file, onnx_file

onnx = pytest.importorskip("onnx", reason=NEEDS_PROFILE)
pytest.importorskip("onnxruntime", reason=NEEDS_PROFILE)


def test_a_file_takes_given_inputs_of_its_shapes_only(tmp_path):
    path = conv_file(tmp_path / "net.onnx")
    mobileone.profile(path, torch.ones(1, 3, 8, 8), runs=1)
    with pytest.raises(ProfileError, match="takes inputs of"):
        mobileone.profile(path, torch.ones(1, 3, 9, 9), runs=1)


@pytest.mark.parametrize("shape", [("batch", 3, 8, 8), (None, 3, 8, 8), None])
def test_a_file_without_fixed_shapes_is_refused(tmp_path, shape):
    with pytest.raises(ProfileError, match="needs fixed sizes"):
        mobileone.profile(conv_file(tmp_path / "net.onnx", shape=shape), runs=1)


@pytest.mark.parametrize("content", [b"not a model", b""])
def test_a_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ProfileError, match="is not an ONNX model"):
        mobileone.profile(path, runs=1)


def test_weights_in_constant_nodes_are_parameters_and_shapes_there_are_none(tmp_path):
    make, weight = onnx.helper.make_node, np.ones((4, 3, 3, 3), np.float32)
    product = make("Conv", ["x", "w"], ["c"])
    flat = make("Reshape", ["c", "shape"], ["y"])
    shape = ("shape", np.array([1, -1]))
    as_weights = onnx_file(tmp_path / "a.onnx", [product, flat], weights=[("w", weight), shape])
    constants = [
        make("Constant", [], [name], value=onnx.numpy_helper.from_array(value))
        for name, value in (("w", weight), shape)
    ]
    as_nodes = onnx_file(tmp_path / "b.onnx", [*constants, product, flat])
    first, second = (mobileone.profile(path, runs=1, threads=1) for path in (as_weights, as_nodes))
    assert first.num_parameters == second.num_parameters == weight.size
    assert (first.macs, first.total().parameter_bytes) == (second.macs, second.total().parameter_bytes)


def test_made_up_biases_go_and_real_ones_stay():
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 4, 1)).eval()
    nn.init.zeros_(model[1].bias)
    graph = export_module(model, (X,)).proto.graph
    assert [len(node.input) for node in graph.node if node.op_type == "Conv"] == [2, 3]


def test_layers_of_the_older_exporters_names():
    def layer(name):
        return onnx_model._layer(onnx.helper.make_node("Conv", ["x"], ["y"], name=name))

    assert layer("/layer1/layer1.0/conv1/Conv") == "layer1.0.conv1"
    assert layer("/Conv") == "(model)"
    assert layer("Conv_7") is None
