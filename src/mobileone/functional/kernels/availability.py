"""Which kernels this machine has: compiled C libraries, Triton."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import warnings

import torch

from mobileone.c_compiler import machine_compiler
from mobileone.errors import ConfigError
from mobileone.functional.kernels import native

TRITON = "triton"
OLDEST_TRITON = (3, 3)  # whose language has tuples


def has_kernels(needs: tuple[str, ...], dtype: torch.dtype) -> bool:
    """Whether all of these are there; the first call for a C source compiles it.

    Args:
        needs: names of C sources, without `.c`, and "triton".
        dtype: that C sources are compiled for, float32 or float64.
    """
    return all(has_triton() if name == TRITON else native.load(name, dtype) is not None for name in needs)


@functools.cache
def has_triton() -> bool:
    """Whether Triton is installed, new enough and able to build; where not, the first call says so.

    What starts a kernel it has the machine's own C compiler build.
    """
    reason, wanted = _why_no_triton()
    if reason:
        warnings.warn(
            f"{reason}; units trained online on a GPU run as plain torch, which is slower. Install {wanted}",
            RuntimeWarning,
            stacklevel=2,
        )
    return not reason


def _why_no_triton() -> tuple[str, str]:
    """What is wrong, and what to install against it; nothing where nothing is wrong."""
    if importlib.util.find_spec(TRITON) is None:
        return "Triton is not installed", "mobileone[gpu]"
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # part of another distribution
        version = importlib.metadata.version(TRITON)
        if tuple(map(int, version.split(".")[:2])) < OLDEST_TRITON:
            oldest = ".".join(map(str, OLDEST_TRITON))
            reason = f"Triton is {version}, and the kernels want {oldest}, which torch 2.7 brings"
            return reason, "mobileone[gpu]"
    try:
        compiler = machine_compiler()
    except ConfigError as error:
        return str(error), "a C compiler"
    return ("", "") if compiler else ("Triton needs a C compiler, and there is none", "gcc or clang")
