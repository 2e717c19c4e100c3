"""Which kernels this machine has: compiled C libraries, Triton."""

from __future__ import annotations

import functools
import importlib.util
import warnings

import torch

from mobileone.functional.kernels import native

TRITON = "triton"


def has_kernels(needs: tuple[str, ...], dtype: torch.dtype) -> bool:
    """Whether all of these are there; the first call for a C source compiles it.

    Args:
        needs: names of C sources, without `.c`, and "triton".
        dtype: that C sources are compiled for, float32 or float64.
    """
    return all(has_triton() if name == TRITON else native.load(name, dtype) is not None for name in needs)


@functools.cache
def has_triton() -> bool:
    """Whether Triton is installed; where it is not, the first call says so."""
    found = importlib.util.find_spec(TRITON) is not None
    if not found:
        warnings.warn(
            "Triton is not installed; moments of patches on a GPU run as plain torch, which is slower. "
            "Install mobileone[gpu]",
            RuntimeWarning,
            stacklevel=2,
        )
    return found
