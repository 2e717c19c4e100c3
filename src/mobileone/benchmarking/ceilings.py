"""What the machine can do at best with some threads, measured: arithmetic by precision, and copies."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mobileone.profiling.roofline import Machine, measure_copies, measure_matmul

SOURCE = Path(__file__).with_name("ceilings.c")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
# What a step of each kernel makes: it proves that the instruction did what it is counted for.
STEP_RESULTS = {"fp32": 2.0, "fp16": 2.0, "bf16": 2.0, "int8": 4.0}
KERNEL_NAMES = {
    "fp32": "fp32 multiply-add",
    "fp16": "fp16 multiply-add",
    "bf16": "bf16 dot product",
    "int8": "int8 dot product",
}
# Many short runs: one of them meets the machine at rest.
REPEATS = 40
BLOCKS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """Arithmetic of one precision.

    Attributes:
        gops: 1e9 operations a second, 2 a multiply-accumulate.
        source: which instruction or matmul it was measured with.
    """

    gops: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """All ceilings for one number of threads.

    Attributes:
        threads: each on a core of its own.
        arithmetic: by precision; one that could not be measured is missing.
        copies: (bytes read and written, GB/s), by size.
        notes: what a reader must know about how they were measured.
    """

    threads: int
    arithmetic: dict[str, Ceiling]
    copies: tuple[tuple[int, float], ...]
    notes: tuple[str, ...] = ()

    def machine(self, precision: str) -> Machine:
        """The roofline for a network of that precision.

        Its arithmetic is the fastest there is for such operands: numbers of 16 and 8 bits can also be
        multiplied as fp32, and are, where the narrow instruction is slow.
        """
        wide = [self.arithmetic[name] for name in (precision, "fp32") if name in self.arithmetic]
        best = max(wide, key=lambda ceiling: ceiling.gops)
        return Machine(peak_gflops=best.gops, peak_source=best.source, copies=self.copies)

    def best(self, other: Ceilings) -> Ceilings:
        """The higher of two measurements of each: what disturbs a ceiling can only lower it."""
        arithmetic = {
            name: max(both, key=lambda ceiling: ceiling.gops)
            for name in {**self.arithmetic, **other.arithmetic}
            if (both := [c.arithmetic[name] for c in (self, other) if name in c.arithmetic])
        }
        copies = tuple(
            (size, max(speed, again))
            for (size, speed), (_, again) in zip(self.copies, other.copies, strict=True)
        )
        return replace(self, arithmetic=arithmetic, copies=copies)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def can_measure_ceilings() -> bool:
    """Whether PyTorch is here, whose copies and matmuls are measured."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def measure_ceilings(cores: Sequence[int]) -> Ceilings:
    """Measure with one thread on each of these cores, in some 3 seconds. Needs torch."""
    import torch

    from mobileone.functional.kernels import native

    notes: list[str] = []
    arithmetic: dict[str, Ceiling] = {}
    try:
        library = native.compiled(SOURCE)
    except native.BuildError as error:
        notes.append(f"no compiled kernel ({error}): arithmetic ceilings are matmuls, which may be far lower")
        library = None
    for precision in PRECISIONS:
        gops = _kernel_gops(library, precision, cores) if library else None
        if gops is not None:
            arithmetic[precision] = Ceiling(gops=gops, source=KERNEL_NAMES[precision])
        elif ceiling := _matmul_ceiling(precision, threads=len(cores)):
            arithmetic[precision] = ceiling
            if library:
                notes.append(f"no {KERNEL_NAMES[precision]} in this processor or compiler: {ceiling.source}")
        elif library:
            notes.append(f"no {KERNEL_NAMES[precision]} in this processor or compiler, nor a matmul")
    if _has_matrix_unit():
        notes.append("this processor has AMX, which these kernels do not use: bf16 and int8 can be faster")
    return Ceilings(
        threads=len(cores),
        arithmetic=arithmetic,
        copies=measure_copies(torch.device("cpu"), threads=len(cores)),
        notes=tuple(notes),
    )


def _kernel_gops(library: ctypes.CDLL, precision: str, cores: Sequence[int]) -> float | None:
    """The best of some runs on all cores at once; None without such an instruction."""
    if not _Run(library, precision, blocks=1).macs:
        return None
    best = 0.0
    for _ in range(REPEATS):
        barrier = threading.Barrier(len(cores))
        runs = [_Run(library, precision, blocks=BLOCKS, core=core, barrier=barrier) for core in cores]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        seconds = max(run.stopped for run in runs) - min(run.started for run in runs)
        best = max(best, 2 * sum(run.macs for run in runs) / seconds / 1e9)
    return best


class _Run(threading.Thread):
    """One call of a kernel on one core; without a core, at once and in the calling thread."""

    def __init__(
        self,
        library: ctypes.CDLL,
        precision: str,
        *,
        blocks: int,
        core: int | None = None,
        barrier: threading.Barrier | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self.kernel = library[precision]
        self.kernel.restype = ctypes.c_int64
        chains = int(library.num_chains())
        self.start_values = (ctypes.c_float * chains)(*range(chains))
        self.precision, self.blocks, self.core, self.barrier = precision, blocks, core, barrier
        self.macs, self.started, self.stopped = 0, 0.0, 0.0
        if barrier is None:
            self.run()

    def run(self) -> None:
        """Call it, and check what it computed."""
        if self.core is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {self.core})  # of this thread alone
        result = ctypes.c_double()
        if self.barrier is not None:
            self.barrier.wait()
        self.started = time.perf_counter()
        macs = self.kernel(ctypes.c_int64(self.blocks), self.start_values, ctypes.byref(result))
        self.stopped = time.perf_counter()
        self.macs = macs if result.value == STEP_RESULTS[self.precision] else 0


def _matmul_ceiling(precision: str, *, threads: int) -> Ceiling | None:
    import torch

    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    if precision not in dtypes:
        return None
    try:
        gops, source = measure_matmul(dtypes[precision], threads=threads)
    except RuntimeError:
        return None
    return Ceiling(gops=gops, source=source)


def _has_matrix_unit() -> bool:
    try:
        return " amx_tile" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
