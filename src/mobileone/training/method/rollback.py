"""Taking a step back without waiting for the device: tensors as they were before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Rollback:
    """Remembers tensors (BatchNorm's running statistics), to set them back if a step was bad.

    Args:
        tensors: that are watched; they must stay the same.

    >>> norm = torch.nn.BatchNorm2d(1)
    >>> rollback = Rollback(norm.buffers())
    >>> rollback.remember()
    >>> _ = norm.running_mean.fill_(float("nan"))
    >>> rollback.where(torch.tensor(True))
    >>> norm.running_mean
    tensor([0.])
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        groups: dict[torch.dtype, list[Tensor]] = defaultdict(list)
        for buffer in tensors:
            # Read as integers: a difference times 0 is 0 there, whereas NaN times 0 is NaN.
            as_integers = buffer.view(_INTEGERS[buffer.element_size()])
            groups[as_integers.dtype].append(as_integers)
        self._groups = [(group, [torch.empty_like(buffer) for buffer in group]) for group in groups.values()]

    def remember(self) -> None:
        """Keep the present values, until the next call."""
        for buffers, kept in self._groups:
            torch._foreach_copy_(kept, buffers)

    def where(self, bad: Tensor) -> None:
        """Set the buffers back to the remembered values if `bad`, a bool () on their device."""
        if bad.device.type != "cpu":
            self._select(bad)
        elif bad:  # asking costs nothing here
            for buffers, kept in self._groups:
                torch._foreach_copy_(buffers, kept)

    def _select(self, bad: Tensor) -> None:
        for buffers, kept in self._groups:
            torch._foreach_sub_(buffers, kept)
            torch._foreach_mul_(buffers, (~bad).to(buffers[0].dtype))
            torch._foreach_add_(buffers, kept)
