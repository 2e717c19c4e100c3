"""Ceilings are measured and plausible; floors follow from them."""

import os
from dataclasses import replace

import pytest

from mobileone.benchmarking import ceilings as module
from mobileone.benchmarking.ceilings import KERNEL_NAMES, Ceiling, measure_ceilings
from mobileone.benchmarking.floor import NetworkShapes
from mobileone.benchmarking.noise import Noise, spin_ms
from mobileone.functional.kernels import native
from mobileone.model.create import create_model
from mobileone.profiling import roofline
from mobileone.profiling.conventions import total_macs
from mobileone.profiling.cost import network_cost
from mobileone.profiling.roofline import bound_of
from mobileone.variants import VARIANTS, Variant

from .conftest import CEILINGS


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(roofline, "MATMUL_SIZES", (256,))
    monkeypatch.setattr(roofline, "COPY_BYTES", (2**20,))
    monkeypatch.setattr(roofline, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(module, "REPEATS", 5)


def test_ceilings_are_measured_by_kernels_that_prove_themselves():
    found = measure_ceilings(sorted(os.sched_getaffinity(0))[:1] if hasattr(os, "sched_getaffinity") else [0])
    assert found.threads == 1
    assert found.arithmetic["fp32"].source == "fp32 multiply-add"
    assert all(1 < each.gops < 50_000 for each in found.arithmetic.values())
    assert all(speed > 0 for _, speed in found.copies)
    named = {name for name in KERNEL_NAMES if any(KERNEL_NAMES[name] in note for note in found.notes)}
    kernels = {name for name, each in found.arithmetic.items() if each.source == KERNEL_NAMES[name]}
    assert kernels | named == set(KERNEL_NAMES), "what is not measured by its kernel is said"


def test_without_a_compiler_matmuls_stand_in_and_are_named(monkeypatch):
    def refuse(name):
        raise native.BuildError("no C compiler found")

    monkeypatch.setattr(native, "compiled", refuse)
    found = measure_ceilings([0])
    assert "no compiled kernel (no C compiler found)" in found.notes[0]
    assert "PyTorch matmul 256×256×256" in found.arithmetic["fp32"].source
    assert "int8" not in found.arithmetic


def test_a_kernel_that_computes_something_else_does_not_count(monkeypatch):
    monkeypatch.setitem(module.STEP_RESULTS, "fp32", 3.0)
    found = measure_ceilings([0])
    assert "matmul" in found.arithmetic["fp32"].source
    assert any("no fp32 multiply-add" in note for note in found.notes)


def test_slow_narrow_instructions_do_not_lower_the_ceiling():
    assert CEILINGS.machine("bf16").peak_gflops == 100.0
    assert CEILINGS.machine("int8").peak_gflops == 400.0
    assert CEILINGS.machine("fp16").peak_source == "fp32 multiply-add"


def test_the_better_of_two_measurements_counts():
    again = replace(
        CEILINGS,
        arithmetic={"fp32": Ceiling(gops=90.0, source="x"), "fp16": Ceiling(gops=200.0, source="y")},
        copies=((2**20, 60.0), (2**28, 9.0)),
    )
    best = CEILINGS.best(again)
    assert best.arithmetic["fp32"].gops == 100.0
    assert best.arithmetic["fp16"].gops == 200.0
    assert best.copies == ((2**20, 60.0), (2**28, 10.0))


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize(("size", "batch", "stride"), [(224, 1, 32), (160, 3, 16)])
def test_the_floor_counts_the_macs_of_the_cost_model(variant, size, batch, stride):
    network = NetworkShapes(variant=variant, input_size=size, num_classes=10, output_stride=stride)
    cost = network_cost(variant, input_size=size, num_classes=10, batch_size=batch, output_stride=stride)
    assert total_macs(network.operators(batch_size=batch, precision="fp32")) == cost.macs
    floor = network.floor(CEILINGS.machine("fp32"), batch_size=batch, precision="fp32")
    assert floor.arithmetic_ms == pytest.approx(2 * cost.macs / 100.0 / 1e6)
    assert max(floor.arithmetic_ms, floor.memory_ms) <= floor.milliseconds
    assert floor.milliseconds <= floor.arithmetic_ms + floor.memory_ms


def test_the_bounds_of_the_stem_by_hand():
    network = NetworkShapes(
        variant=Variant("x", (1, 1, 1, 1), depths=(1, 1, 1, 1)), input_size=4, num_classes=0
    )
    stem = network.operators(batch_size=2, precision="int8")[0]
    assert [t.shape for t in stem.inputs] == [(2, 3, 4, 4), (1, 3, 3, 3), (1,)]
    assert [t.shape for t in stem.outputs] == [(2, 1, 2, 2)]
    bound = bound_of(stem, CEILINGS.machine("int8"))
    assert bound.arithmetic_ms == pytest.approx(2 * 27 * 8 / 400.0 / 1e6)
    assert bound.memory_ms == pytest.approx((96 + 27 + 1 + 8) / 50.0 / 1e6)


def test_parameters_in_the_floor_are_the_networks(tiny):
    network = NetworkShapes(variant=tiny, input_size=64, num_classes=10)
    parameters = sum(
        tensor.numel
        for op in network.operators(batch_size=1, precision="fp32")
        for tensor in op.inputs
        if tensor.is_parameter
    )
    model = create_model(tiny, num_classes=10, form="inference")
    assert parameters == sum(p.numel() for p in model.parameters())


def test_noise_by_hand():
    quiet = Noise([0, 1], load_before=0.1, spins_ms={0: [1.0, 1.01, 1.02], 1: [2.0, 2.0, 2.1]})
    assert quiet.spread == pytest.approx(0.05)
    assert quiet.typical == pytest.approx(0.01)
    assert quiet.warning is None
    busy = Noise([0], load_before=1.5, spins_ms={0: [1.0, 1.0, 1.3]})
    assert "load average 1.50" in busy.warning
    assert "took 30 % longer or more" in busy.warning
    assert spin_ms() > 0
