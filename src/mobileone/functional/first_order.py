"""Backward passes that are not differentiable again, and say so wherever that is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Backward = Callable[..., tuple[Tensor | None, ...]]
REFUSAL = (
    b"second derivatives of a MobileOne unit that trains online (once_differentiable) do not exist; "
    b'call set_branch_mode(model, "branches") first'
)


def first_order(backward: Backward) -> Backward:
    """Of an `autograd.Function`'s backward pass: its gradients raise where they are differentiated.

    torch's `once_differentiable` lets them be constants unless the gradient that comes in requires one. That
    of a sum does not, while what goes out depends on x and the parameters all the same: a penalty on it would
    silently be one without gradient.
    """

    @functools.wraps(backward)
    def checked(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            found = backward(ctx, *grads)
        # Compiled graphs are not differentiable again either, and torch says so itself.
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return found
        refuse: Callable[..., tuple[Tensor | None, ...]] = torch._C._functions.DelayedError(
            REFUSAL, len(found)
        )
        return refuse(*(None if grad is None else grad.detach().requires_grad_() for grad in found))

    return checked
