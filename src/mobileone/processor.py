"""This machine's processor: its name, and the cores that this process may use. Imports no torch."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache

SPIN_COUNT = 4000
"""Turns that a thread of OpenMP waits in a loop before it sleeps: a tenth to a fifth of a millisecond."""
BLAS_SPIN = 19
"""The same for NumPy's OpenBLAS: a power of two, ticks of the processor's clock, a fifth of a millisecond."""


def processor_name() -> str:
    """The processor's name as the system tells it."""
    return _told("model name", "hardware") or platform.processor() or platform.machine()


@cache
def is_amd() -> bool:
    """Whether the system tells that AMD made this processor."""
    return _told("vendor_id") == "AuthenticAMD"


def _told(*keys: str) -> str:
    """What Linux tells of the processor under the first of these keys that it has, or nothing."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.lower().startswith(keys):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""


def saturates_bytes() -> bool:
    """Whether this is an x86 processor with AVX2 and without VNNI, as the system tells.

    Its widest instruction for bytes adds two products in 16 bits, which saturate: 2 · 255 · 127 do not fit.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = set(file.read().split())
    except OSError:
        return False
    return "avx2" in flags and not flags & {"avx512_vnni", "avx_vnni"}


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may use, ascending."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def num_cores() -> int:
    """How many cores this process may use."""
    return len(usable_cores())


def share_cores() -> None:
    """Have threads that wait give their core up soon, where torch is not loaded yet and nobody has chosen.

    libgomp's threads spin for 300,000 turns where nothing is said, some ten milliseconds: beside one busy
    process a training step then takes 3.2 times as long as alone, where its share of two cores would make
    that 1.5. SPIN_COUNT turns cost a step nothing alone and give up the core sooner; fewer make it slower
    alone (docs/training.md has the figures).
    NumPy's OpenBLAS starts its threads when it is loaded, and they spin for a tenth of a second, whether or
    not anything is ever multiplied: as much as the rest of a short command.
    It is the environment that says so; libgomp reads it when torch is loaded, OpenBLAS when NumPy is, and
    child processes have it.
    """
    if "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", str(BLAS_SPIN))
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
