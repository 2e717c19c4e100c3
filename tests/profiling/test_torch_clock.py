"""PyTorch as the clock: what it executes, and under which names."""

import pytest
import torch
from torch import nn

import mobileone
from mobileone.errors import ProfileError
from mobileone.profiling.profile_report import profile_report
from mobileone.profiling.torch_clock import TorchClock, trace

from .conftest import X


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


def test_a_trace_names_layers_and_knows_constants():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    ).eval()
    operators = trace(model, (torch.zeros(1, 3, 2, 2),))
    named = {op.kind: op for op in operators}
    conv, norm, fc = named["Conv"], named["SpatialBN"], named["FC"]
    assert [op.layer for op in (conv, norm, fc)] == ["0", "1", "2.1"]
    assert [(each.shape, each.is_parameter) for each in conv.inputs] == [
        ((1, 3, 2, 2), False), ((4, 3, 1, 1), True), ((4,), True),
    ]  # fmt: skip
    assert [each.is_parameter for each in fc.inputs] == [False, True, True], (
        "the transposed weight is one too"
    )
    assert norm.outputs == (conv.outputs[0],), "without what is kept for a backward pass"


def test_a_trace_leaves_no_hook_behind_and_needs_no_memory():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval()
    assert [op.kind for op in trace(model, (torch.zeros(2, 3, device="meta"),))][-1] == "Relu"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_that_cannot_run_is_refused_by_its_input():
    with pytest.raises(ProfileError, match=r"Linear does not run on an input of \(1, 5\)"):
        trace(nn.Linear(3, 4), (torch.zeros(1, 5),))


def test_every_operator_has_a_time_for_every_run():
    clock = TorchClock(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), (X,), threads=1)
    clock.measure(3)
    clock.measure(1)
    found = clock.finish()
    assert [op.kind for op in found.operators] == ["Conv", "Relu"]
    assert all(op.time_ms > 0 for op in found.operators)
    assert len(found.operator_sums_ms) == len(found.latencies_ms) == 4
    assert found.num_parameters == 4 * 27 + 4
    assert [each.shape for each in found.inputs] == [(1, 3, 32, 32)]
