"""Which kernels this machine has: compiled C libraries, Triton."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import warnings

import torch

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
    """Whether Triton is installed, and new enough; where it is not, the first call says so."""
    reason = ""
    if importlib.util.find_spec(TRITON) is None:
        reason = "Triton is not installed"
    else:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # part of another distribution
            version = importlib.metadata.version(TRITON)
            if tuple(map(int, version.split(".")[:2])) < OLDEST_TRITON:
                wanted = ".".join(map(str, OLDEST_TRITON))
                reason = f"Triton is {version}, and the kernels want {wanted}, which torch 2.7 brings"
    if reason:
        warnings.warn(
            f"{reason}; units trained online on a GPU run as plain torch, which is slower. Install "
            "mobileone[gpu]",
            RuntimeWarning,
            stacklevel=2,
        )
    return not reason
