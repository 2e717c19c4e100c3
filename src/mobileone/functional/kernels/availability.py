"""Which kernels this machine has: compiled C libraries, Triton."""

from __future__ import annotations

import functools
import importlib.util
import warnings

import torch

from mobileone.functional.kernels import native


def has_libraries(names: tuple[str, ...], dtype: torch.dtype) -> bool:
    """Whether the libraries of these C sources are there; the first call compiles them.

    Args:
        names: of the sources, without `.c`.
        dtype: float32 or float64.
    """
    if torch.compiler.is_compiling():
        # Decorating a function for the compiler loads it, a second that nobody else should pay.
        from mobileone.functional.kernels import traced_availability

        return bool(traced_availability.has_libraries(names, dtype))
    return find_libraries(names, dtype)


def has_triton() -> bool:
    """Whether Triton is installed; where it is not, the first call says so."""
    if torch.compiler.is_compiling():
        from mobileone.functional.kernels import traced_availability

        return bool(traced_availability.has_triton())
    return find_triton()


def find_libraries(names: tuple[str, ...], dtype: torch.dtype) -> bool:
    """`has_libraries` where nothing is being traced."""
    return all(native.load(name, dtype) is not None for name in names)


@functools.cache
def find_triton() -> bool:
    """`has_triton` where nothing is being traced."""
    found = importlib.util.find_spec("triton") is not None
    if not found:
        warnings.warn(
            "Triton is not installed; moments of patches on a GPU run as plain torch, which is slower. "
            "Install mobileone[gpu]",
            RuntimeWarning,
            stacklevel=2,
        )
    return found
