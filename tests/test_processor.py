"""What this machine is called, and which cores this process may use."""

import ast
import builtins
import io
import os
import platform
import subprocess
import sys

import pytest

from mobileone.processor import (
    BLAS_SPIN,
    SPIN_COUNT,
    is_amd,
    num_cores,
    processor_name,
    saturates_bytes,
    share_cores,
    usable_cores,
)


def test_cores_are_those_of_this_process():
    cores = usable_cores()
    assert cores == sorted(set(cores))
    assert 1 <= num_cores() == len(cores) <= os.cpu_count()


@pytest.mark.skipif("not hasattr(__import__('os'), 'sched_setaffinity')")
def test_a_confined_process_sees_its_own_cores_alone():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        assert usable_cores() == [max(before)]
    finally:
        os.sched_setaffinity(0, before)


def test_a_system_that_confines_nobody_has_all_cores(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores() == [0, 1, 2]
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == [0]


def test_there_is_a_name_even_where_the_system_has_no_file_of_it(monkeypatch):
    assert processor_name()

    def refuse(*_arguments, **_options):
        raise FileNotFoundError

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert processor_name() == "riscv64"


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("fma avx2 avx512f", True),
        ("avx2 avx512_vnni", False),
        ("avx2 avx_vnni", False),
        ("sse4_2 avx", False),
        ("asimddp i8mm", False),
    ],
)
def test_bytes_saturate_with_avx2_and_without_vnni(monkeypatch, flags, wanted):
    monkeypatch.setattr(builtins, "open", lambda *_, **__: io.StringIO(f"model\t: 1\nflags\t: {flags}\n"))
    assert saturates_bytes() is wanted


@pytest.mark.parametrize(("vendor", "wanted"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_the_maker_is_told_by_the_system(monkeypatch, vendor, wanted):
    is_amd.cache_clear()
    try:
        monkeypatch.setattr(
            builtins, "open", lambda *_, **__: io.StringIO(f"model\t: 1\nvendor_id\t: {vendor}\n")
        )
        assert is_amd() is wanted
    finally:
        is_amd.cache_clear()


SPINNING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OPENBLAS_THREAD_TIMEOUT")


def printed(script: str, **environment: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if k not in SPINNING}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=inherited | environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


COMMAND = """
import os, sys
from types import SimpleNamespace
from mobileone.cli import main
command = SimpleNamespace(run=lambda: print(os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules) or 0)
main.parse = lambda *args, **options: command
main.main(["info"])
"""


def test_a_command_has_waiting_threads_sleep_soon_before_torch_is_loaded() -> None:
    assert printed(COMMAND) == f"{SPIN_COUNT} False"
    assert printed(COMMAND, GOMP_SPINCOUNT="7") == "7 False"
    assert printed(COMMAND, OMP_WAIT_POLICY="ACTIVE") == "None False"


@pytest.mark.parametrize(
    ("library", "variable"), [("torch", "GOMP_SPINCOUNT"), ("numpy", "OPENBLAS_THREAD_TIMEOUT")]
)
def test_once_its_library_is_loaded_nothing_is_set(library, variable, monkeypatch) -> None:
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(sys.modules, library, sys)
    share_cores()
    assert variable not in os.environ


BLAS = """
import os, sys, time
from types import SimpleNamespace
from mobileone.cli import main

def run():
    import numpy
    others = time.process_time() - time.thread_time()
    print(os.environ["OPENBLAS_THREAD_TIMEOUT"], others < 0.02)
    return 0

main.parse = lambda *args, **options: SimpleNamespace(run=run)
main.main(["info"])
"""


def test_numpys_threads_sleep_from_the_first_on() -> None:
    assert printed(BLAS) == f"{BLAS_SPIN} True"
    assert printed(BLAS, OPENBLAS_THREAD_TIMEOUT="20").startswith("20 ")


@pytest.mark.skipif(sys.platform != "linux", reason="looks at a process's memory map")
def test_kernels_and_torch_share_one_openmp() -> None:
    """Two pools of threads would each want all cores."""
    script = """
import torch
from mobileone.functional.kernels.availability import has_kernels
assert has_kernels(("affine", "depthwise_moments"), torch.float32)
torch.zeros(1000, 1000) @ torch.zeros(1000, 1000)
maps = open("/proc/self/maps").read().split()
print(sorted({name for name in maps if "libgomp" in name or "libomp" in name or "libiomp" in name}))
"""
    pools = ast.literal_eval(printed(script))
    assert len(pools) == 1, pools
