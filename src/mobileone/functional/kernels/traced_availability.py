"""What torch.compile sees of availability.py: answers that it takes for constants, and does not look into."""

from __future__ import annotations

import torch

from mobileone.functional.kernels import availability


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def has_libraries(names: tuple[str, ...], dtype: torch.dtype) -> bool:
    """As `availability.has_libraries`."""
    return availability.find_libraries(names, dtype)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def has_triton() -> bool:
    """As `availability.has_triton`."""
    return availability.find_triton()
