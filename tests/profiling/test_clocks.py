"""Both clocks: what they execute, how they name it, and what they refuse."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import mobileone
from mobileone.errors import ConfigError, MissingExtraError, ProfileError
from mobileone.model.create import create_model
from mobileone.profiling import onnx_clock, onnx_model, torch_clock
from mobileone.profiling.clock import CHUNK_RUNS, interquartile_mean
from mobileone.profiling.cost import network_cost
from mobileone.profiling.onnx_model import export_module
from mobileone.profiling.profile import ProfileSubject, compare
from mobileone.profiling.profile_report import profile_report
from mobileone.variants import Variant

X = torch.randn(1, 3, 32, 32)


def kinds(profile):
    return {row.name: row.num_operators for row in profile.rows()}


FORMS = ("train", "inference")
SMALL = Variant("small", (16, 16, 16, 32), depths=(1, 1, 1, 1), se_blocks=(0, 0, 0, 1))


@pytest.fixture(scope="module")
def models():
    return {form: create_model(SMALL, num_classes=10, form=form).eval() for form in FORMS}


@pytest.fixture(scope="module")
def onnx_profiles(models):
    """Each form as ONNX Runtime executes it."""
    return {form: mobileone.profile(models[form], X, runs=3, threads=1) for form in FORMS}


@pytest.mark.parametrize("form", FORMS)
def test_onnx_runtime_executes_the_network_as_it_is_written(models, onnx_profiles, form):
    model, profile = models[form], onnx_profiles[form]
    cost = network_cost(SMALL, input_size=32, form=form, num_classes=10)
    sums = {
        name: sum(getattr(row, name) for row in profile.rows() if row.in_memory_report)
        for name in ("bytes_read", "bytes_written", "parameter_bytes")
    }
    assert (profile.macs, profile.count, profile.num_parameters) == (cost.macs, cost.flops, cost.params)
    assert sums == {name: getattr(cost, name) for name in sums}
    found = kinds(profile)
    assert found["Conv"] == sum(isinstance(m, nn.Conv2d) for m in model.modules())
    assert found.get("SpatialBN", 0) == sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    for name in ("Shape", "Gather", "ExpandDims", "Concat", "Reshape", "FC"):
        assert found[name] == 1
    assert all(row.time_ms is not None and row.time_ms >= 0 for row in profile.rows())
    assert len(profile.latencies_ms) == len(profile.operator_sums_ms) == 3
    assert min(profile.latencies_ms) > 0


def test_every_layer_is_a_module_of_the_network(models, onnx_profiles):
    names = {name for name, _ in models["train"].named_modules() if name}
    by_torch = mobileone.profile(models["train"], X, runs=1, clock="torch", threads=1)
    for profile in (onnx_profiles["train"], by_torch):
        layers = {row.name for row in profile.rows("layer")}
        assert layers <= names
        assert "stages.2.1.conv_kxk.0.conv" in layers


def test_optimized_merges_operators_and_keeps_their_layers(models, onnx_profiles):
    plain = onnx_profiles["inference"]
    merged = mobileone.profile(models["inference"], X, runs=2, threads=1, optimized=True)
    assert len(merged.operators) < len(plain.operators)
    assert "Concat" not in kinds(merged), "constants were folded"
    assert kinds(plain)["Relu"] > kinds(merged).get("Relu", 0)
    layers = {row.name for row in merged.rows("layer")}
    assert {row.name for row in plain.rows("layer") if "Conv" in row.kinds} <= layers
    assert merged.protocol.optimized
    assert "graph optimizations on" in profile_report(merged)


def test_torch_times_the_same_network(models, onnx_profiles):
    theirs = onnx_profiles["train"]
    profile = mobileone.profile(models["train"], X, clock="torch", runs=3, threads=1)
    assert (profile.macs, profile.count) == (theirs.macs, theirs.count)
    listed = [{r.name: r.bytes_read for r in p.rows() if r.in_memory_report} for p in (profile, theirs)]
    assert listed[0] == listed[1]
    assert {op.kind for op in profile.operators if op.time_ms is None} == {
        "Shape", "Gather", "ExpandDims", "Concat", "Reshape",
    }  # fmt: skip
    assert " Concat" not in profile_report(profile).split("FLOP per")[0], "what was not executed has no time"


def test_threads_are_put_back():
    before = torch.get_num_threads()
    mobileone.profile(nn.ReLU().eval(), X, clock="torch", threads=before + 1, runs=1)
    assert torch.get_num_threads() == before


def test_interquartile_mean():
    assert interquartile_mean([5.0]) == 5.0
    assert interquartile_mean([1, 9]) == 5.0
    assert interquartile_mean([0, 4, 5, 6, 7, 1000, 5, 4]) == 5.0


def test_comparison_measures_in_turns(monkeypatch):
    turns = []
    real = torch_clock.TorchClock.measure

    def measure(self, runs):
        turns.append((id(self), runs))
        real(self, runs)

    monkeypatch.setattr(torch_clock.TorchClock, "measure", measure)
    model = nn.Conv2d(3, 4, 1).eval()
    result = compare(
        ProfileSubject(model, X, "a"),
        ProfileSubject(model, X, "b"),
        clock="torch",
        threads=1,
        runs=CHUNK_RUNS + 2,
    )
    first, second = turns[0][0], turns[1][0]
    assert turns == [(first, CHUNK_RUNS), (second, CHUNK_RUNS), (first, 2), (second, 2)]
    assert (result.first.name, result.second.name) == ("a", "b")
    assert result.to_dict()["speedup"] == result.first.latency_ms / result.second.latency_ms


class Unequal(nn.Module):
    """Runs another operator every time."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        for _ in range(self.calls):
            x = x + 1
        return x


class Untraceable(nn.Module):
    def forward(self, x):
        return x.cpu().numpy().tolist() and x


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((nn.ReLU(), X), {}, ProfileError, "training mode; call model.eval"),
        ((nn.ReLU().eval(),), {}, ConfigError, "needs its input"),
        ((nn.ReLU().eval(), X), {"runs": 0}, ConfigError, "runs must be at least 1, got 0"),
        ((nn.ReLU().eval(), X), {"threads": 0}, ConfigError, "threads must be at least 1"),
        ((nn.ReLU().eval(), X), {"clock": "sundial"}, ConfigError, "clock must be one of"),
        ((nn.ReLU().eval(), X), {"convention": "mine"}, ConfigError, "convention must be one of"),
        ((nn.ReLU().eval(), X), {"clock": "torch", "optimized": True}, ConfigError, "optimized is ONNX"),
        ((nn.Linear(4, 4).eval(), X), {"clock": "torch"}, ProfileError, "Linear does not run on an input of"),
        ((nn.Linear(4, 4).eval(), X), {}, ProfileError, "cannot export Linear to ONNX"),
        ((Untraceable().eval(), X), {}, ProfileError, "clock torch"),
        ((Unequal().eval(), X), {"clock": "torch"}, ProfileError, "cannot be timed operator by operator"),
        (("nowhere.onnx",), {}, ProfileError, "nowhere.onnx is not there"),
        (("nowhere.onnx",), {"clock": "torch"}, ConfigError, "the torch clock takes modules"),
        ((nn.ReLU().eval(), X.to("meta")), {"clock": "onnxruntime"}, ConfigError, "runs on the CPU only"),
    ],
)
def test_refusals(arguments, options, error, message):
    with pytest.raises(error, match=message):
        mobileone.profile(*arguments, **{"runs": 1, **options})


def test_a_missing_runtime_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"mobileone\[profile\]"):
        mobileone.profile(nn.ReLU().eval(), X)


def onnx_file(path, nodes, *, shape=(1, 3, 8, 8), weights=(), domain=None):
    """An .onnx file of these nodes from x to y."""
    make = onnx.helper
    graph = make.make_graph(
        nodes,
        "graph",
        [make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights],
    )
    opsets = [make.make_opsetid("", 18), *([make.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(make.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def conv_file(path, **options):
    weights = [("w", np.ones((4, 3, 3, 3), np.float32)), ("b", np.ones(4, np.float32))]
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w", "b"], ["c"], name="/body/body.0/Conv"),
        onnx.helper.make_node("Softsign", ["c"], ["y"]),
    ]
    return onnx_file(path, nodes, weights=weights, **options)


def test_a_file_is_profiled_as_it_is(tmp_path):
    profile = mobileone.profile(conv_file(tmp_path / "net.onnx"), runs=2, convention="macs")
    assert profile.name == "net.onnx"
    assert profile.num_parameters == 4 * 27 + 4
    assert profile.macs == 4 * 27 * 36
    assert [row.name for row in profile.rows("layer")] == ["body.0", "Softsign"]
    assert profile.uncounted == ("Softsign",)
    assert "No cost rule in macs, time only: Softsign" in profile_report(profile)
    assert "Softsign" in profile_report(profile).split("MAC per")[0], "an uncounted operator keeps its time"


def test_a_file_takes_given_inputs_of_its_shapes_only(tmp_path):
    path = conv_file(tmp_path / "net.onnx")
    mobileone.profile(path, torch.ones(1, 3, 8, 8), runs=1)
    with pytest.raises(ProfileError, match="takes inputs of"):
        mobileone.profile(path, torch.ones(1, 3, 9, 9), runs=1)


@pytest.mark.parametrize("shape", [("batch", 3, 8, 8), (None, 3, 8, 8), None])
def test_a_file_without_fixed_shapes_is_refused(tmp_path, shape):
    with pytest.raises(ProfileError, match="needs fixed sizes"):
        mobileone.profile(conv_file(tmp_path / "net.onnx", shape=shape), runs=1)


def test_a_file_with_an_operator_nobody_has_is_refused(tmp_path):
    node = onnx.helper.make_node("Sorcery", ["x"], ["y"], domain="my.domain")
    path = onnx_file(tmp_path / "net.onnx", [node], domain="my.domain")
    with pytest.raises(ProfileError, match=r"cannot execute this model: .*Sorcery"):
        mobileone.profile(path, runs=1)


@pytest.mark.parametrize("content", [b"not a model", b""])
def test_a_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ProfileError, match="is not an ONNX model"):
        mobileone.profile(path, runs=1)


def test_the_profile_must_hold_all_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_clock, "MAX_EVENTS", 40)
    path = conv_file(tmp_path / "net.onnx")
    with pytest.raises(ProfileError, match="take fewer runs"):
        mobileone.profile(path, runs=100)


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
