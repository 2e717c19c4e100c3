"""Ceilings are measured and plausible; floors follow from them."""

import os
import platform
import subprocess
from dataclasses import replace

import pytest

from mobileone.benchmarking import ceilings as module
from mobileone.benchmarking.ceilings import KERNEL_NAMES, Ceiling, measure_ceilings
from mobileone.c_compiler import machine_compiler
from mobileone.functional.kernels import native
from mobileone.profiling import roofline

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
    assert all(0.01 < each.gops < 50_000 for each in found.arithmetic.values())
    assert all(speed > 0 for _, speed in found.copies)
    named = {name for name in KERNEL_NAMES if any(KERNEL_NAMES[name] in note for note in found.notes)}
    kernels = {name for name, each in found.arithmetic.items() if each.source == KERNEL_NAMES[name]}
    assert kernels | named == set(KERNEL_NAMES), "what is not measured by its kernel is said"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86's vector instructions")
@pytest.mark.parametrize("processor", ["x86-64", "haswell", "skylake-avx512", "cascadelake", "cooperlake"])
def test_the_kernels_compile_for_every_set_of_vector_instructions(processor, tmp_path):
    compiler = machine_compiler()
    if compiler is None:
        pytest.skip("no C compiler")
    command = [*compiler, *native.FLAGS, f"-march={processor}", "-c", str(module.SOURCE), "-o"]
    done = subprocess.run([*command, str(tmp_path / "out.o")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


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
