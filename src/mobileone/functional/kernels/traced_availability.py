"""What torch.compile sees of availability.py: an answer that it takes for a constant, and does not look into.

A module of its own, because marking a function so loads the compiler, which takes half a second.
"""

from __future__ import annotations

import torch

from mobileone.functional.kernels import availability


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def has_kernels(needs: tuple[str, ...], dtype: torch.dtype) -> bool:
    """As `availability.has_kernels`."""
    return availability.has_kernels(needs, dtype)
