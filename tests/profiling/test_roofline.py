"""Ceilings and bounds."""

import pytest
import torch

from mobileone.profiling import roofline
from mobileone.profiling.roofline import Machine, bound_of, measure_machine

from .conftest import MACHINE, profile_of


def test_the_larger_of_two_bounds_counts():
    rows = {row.name: row for row in profile_of("mobileone_s0").rows("layer")}
    pointwise, depthwise = rows["stages.1.3.reparam_conv"], rows["stages.0.0.reparam_conv"]
    assert (pointwise.limit, depthwise.limit) == ("arithmetic", "memory")
    assert pointwise.bound_ms == pytest.approx(2 * pointwise.macs / MACHINE.peak_gflops / 1e6)
    moved = depthwise.bytes_read + depthwise.bytes_written
    assert moved > 2**20
    assert depthwise.bound_ms == pytest.approx(moved / 10.0 / 1e6)
    assert depthwise.of_bound == depthwise.bound_ms / depthwise.time_ms
    assert rows["stages.0.0.act"].limit == "memory"


def test_a_stage_is_bound_by_the_sum_of_its_operators():
    profile = profile_of("mobileone_s0")
    wanted = sum(bound_of(op, MACHINE).time_ms for op in profile.operators if op.layer.startswith("stages.2"))
    stage = next(row for row in profile.rows("stage") if row.name == "stages.2")
    assert stage.bound_ms == pytest.approx(wanted)


def test_small_copies_may_be_faster_but_never_count_slower_than_large_ones():
    machine = Machine(peak_gflops=1, peak_source="", copies=((10, 5.0), (100, 20.0), (1000, 8.0)))
    assert [machine.bandwidth(n) for n in (1, 10, 11, 100, 500, 10**6)] == [20, 20, 20, 20, 8, 8]


@pytest.mark.parametrize("clock", ["torch", "onnxruntime"])
def test_measured_ceilings(monkeypatch, clock):
    monkeypatch.setattr(roofline, "MATMUL_SIZES", (64,))
    monkeypatch.setattr(roofline, "COPY_BYTES", (2**20,))
    monkeypatch.setattr(roofline, "MIN_SECONDS", 0.0)
    before = torch.get_num_threads()
    machine = measure_machine(clock, torch.device("cpu"), threads=1)
    assert machine.peak_gflops > 0
    assert "64×64×64" in machine.peak_source
    assert [size for size, _ in machine.copies] == [2**20]
    assert machine.copies[0][1] > 0
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("seconds", "tried"), [(1.0, 1), (0.001, len(roofline.MATMUL_SIZES))])
def test_a_matmul_without_fast_arithmetic_is_not_tried_at_larger_sizes(monkeypatch, seconds, tried):
    runs = []
    monkeypatch.setattr(roofline, "_best_seconds", lambda work: runs.append(work) or seconds)
    gflops, name = roofline.measure_matmul(torch.float16, threads=1)
    assert len(runs) == tried
    size = roofline.MATMUL_SIZES[tried - 1]
    assert gflops == pytest.approx(2 * size**3 / seconds / 1e9)
    assert name == f"PyTorch matmul {size}×{size}×{size} float16"
