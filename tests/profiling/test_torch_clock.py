"""PyTorch as the clock: what it executes, and under which names."""

import torch
from torch import nn

import mobileone
from mobileone.profiling.profile_report import profile_report
from mobileone.profiling.torch_clock import TorchClock

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
