"""Triton without a GPU: its interpreter, in a process of its own, and its compiler, which needs no device."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch


@pytest.fixture(autouse=True)
def _several_threads() -> None:
    """The kernels' division of work among threads is under test here."""
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


@pytest.fixture(scope="session")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """`interpreted(script)` runs Python with Triton's interpreter, chosen at import; what it printed."""
    pytest.importorskip("triton")

    def run(script: str) -> str:
        file = tmp_path_factory.mktemp("triton") / "script.py"  # Triton reads its kernels' source
        file.write_text(script, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(file)],
            capture_output=True,
            text=True,
            timeout=600,
            env=os.environ | {"TRITON_INTERPRET": "1"},
        )
        assert done.returncode == 0, done.stderr[-1500:]
        return done.stdout.strip()

    return run


class Compiled(NamedTuple):
    """What the compiler made of a kernel.

    Attributes:
        registers: a thread.
        stack_bytes: a thread's memory for registers that did not fit, and arrays.
        shared_bytes: a program's.
        instructions: lines of PTX.
        shuffles: of PTX, exchanges within a warp.
        widest_load: bits a thread loads at a time.
        cpu_seconds: that compiling took.
    """

    registers: int
    stack_bytes: int
    shared_bytes: int
    instructions: int
    shuffles: int
    widest_load: int
    cpu_seconds: float


ACTIVATIONS = {"x", "y", "grad", "out", "grad_x", "to", "to_x", "to_y"}
NUMBERS = {
    "images", "height", "width", "channels", "tiles", "strips", "strip_rows", "out_height", "out_width",
    "rows", "outputs", "image_outputs", "edge", "image_edge",
}  # fmt: skip


MOST_SECONDS = (
    10  # of a processor for a kernel, which a first step waits for; one that unrolls too much took 50
)


def cpu_seconds() -> float:
    """Processor time of this process and its children: ptxas is one."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@pytest.fixture
def compile_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., Compiled]:
    """`compile_for(kernel, 90, "bf16", warps=4, stride=1, …)`: for sm_90, 16-aligned as tensors are.

    Fails in a slow test where that took more than `MOST_SECONDS`.
    """
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def run(
        kernel: Any,
        arch: int,
        dtype: str,
        *,
        warps: int,
        options: dict[str, Any] | None = None,
        **constants: Any,
    ) -> Compiled:
        names = kernel.arg_names
        types = {
            name: "constexpr" if name in constants
            else "i32" if name in NUMBERS
            else f"*{dtype}" if name in ACTIVATIONS
            else "*fp32"
            for name in names
        }  # fmt: skip
        aligned = [i for i, name in enumerate(names) if types[name].startswith("*") or name == "channels"]
        started = cpu_seconds()
        made = triton.compile(
            ASTSource(
                kernel,
                signature=types,
                constexprs=constants,
                attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
            ),
            target=GPUTarget("cuda", arch, 32),
            options={"num_warps": warps, "enable_fp_fusion": True, **(options or {})},
        )
        took = cpu_seconds() - started
        if request.node.get_closest_marker("slow"):
            assert took < MOST_SECONDS, f"{kernel.__name__} took {took:.0f} s to compile"
        cubin = tmp_path / "kernel.cubin"
        cubin.write_bytes(made.asm["cubin"])
        tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        usage = subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
        found = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", usage))
        ptx = made.asm["ptx"]
        loads = re.findall(r"ld\.global(?:\.L1\S*)?(?:\.v(\d))?\.b(\d+)", ptx)
        return Compiled(
            registers=int(found["REG"]),
            stack_bytes=int(found["STACK"]) + int(found["LOCAL"]),
            shared_bytes=made.metadata.shared,
            instructions=len(re.findall(r";$", ptx, re.MULTILINE)),
            shuffles=ptx.count("shfl.sync"),
            widest_load=max(int(count or 1) * int(bits) for count, bits in loads),
            cpu_seconds=took,
        )

    return run
