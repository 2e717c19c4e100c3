"""Muon for matrices over channels, AdamW for everything else, as one optimizer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mobileone.training.method.rollback import Rollback

# Newton-Schulz with the quintic of Muon's author (K. Jordan, 2024): singular values end in 0.7 to 1.2.
STEPS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon on pointwise kernels seen as matrices, and torch's AdamW beside it.

    Muon's steps are scaled to be as long as AdamW's, so one learning rate and weight decay do for both.
    It heeds `grad_scale` and `found_inf` as torch's fused optimizers do: a step whose gradients are not
    finite changes nothing, and a GPU is not waited for.

    Args:
        groups: with lr and weight_decay; those with `is_matrix` are Muon's, kernels (C_out, C_in, 1, 1).
        momentum: of Muon, and AdamW's first beta, in [0, 1).
        beta2: AdamW's second.

    Attributes:
        parts: the two optimizers, which hold the state.
    """

    # The gradient scaler then leaves it to us to heed what it found.
    _step_supports_amp_scaling = True

    def __init__(self, groups: Sequence[dict[str, Any]], *, momentum: float, beta2: float) -> None:
        super().__init__([dict(group) for group in groups], {"lr": 0.0, "weight_decay": 0.0})
        parts: list[tuple[list[dict[str, Any]], torch.optim.Optimizer]] = []
        for is_matrix in (True, False):
            own = [group for group in self.param_groups if group["is_matrix"] is is_matrix]
            given = [{"params": group["params"]} for group in own]
            if given and is_matrix:
                parts.append((own, Muon(given, momentum=momentum)))
            elif given:
                betas = (momentum, beta2)
                parts.append((own, torch.optim.AdamW(given, weight_decay=0.0, betas=betas, fused=True)))
        self._groups_of_parts = [own for own, _ in parts]
        self.parts = tuple(part for _, part in parts)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both."""
        assert closure is None
        part: Any
        for part, own in zip(self.parts, self._groups_of_parts, strict=True):
            for target, group in zip(part.param_groups, own, strict=True):
                target["lr"], target["weight_decay"] = group["lr"], group["weight_decay"]
            part.grad_scale = getattr(self, "grad_scale", None)
            part.found_inf = getattr(self, "found_inf", None)
            try:
                part.step()
            finally:
                del part.grad_scale, part.found_inf

    def state_dict(self) -> dict[str, Any]:
        """Of both, for `load_state_dict`."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state of `state_dict`."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


class Muon(torch.optim.Optimizer):
    """Muon (arXiv 2502.16982): momentum with Nesterov's look ahead, its singular values brought near 1.

    torch has one, which orthogonalises in bfloat16: a processor without instructions for that takes a
    hundred times as long (a step of S0 took 16 s instead of 2). This one does so on GPUs alone, and takes
    kernels of one shape together. It has `grad_scale` and `found_inf` where a gradient scaler sets them.

    Args:
        groups: of kernels (C_out, C_in, 1, 1), which must stay where they are.
        momentum: in [0, 1).
    """

    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None

    def __init__(self, groups: Sequence[dict[str, Any]], *, momentum: float) -> None:
        super().__init__([*groups], {"lr": 0.0, "weight_decay": 0.0, "momentum": momentum})
        for group in self.param_groups:
            for kernel in group["params"]:
                self.state[kernel]["momentum_buffer"] = torch.zeros_like(kernel.detach().flatten(1))
        self._before: Rollback | None = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of gradients divided by `grad_scale`, unless `found_inf` says that they are not finite."""
        assert closure is None
        if self.found_inf is not None:
            if self._before is None:
                kernels = [kernel.detach() for group in self.param_groups for kernel in group["params"]]
                self._before = Rollback([*kernels, *(self.state[k]["momentum_buffer"] for k in self.state)])
            self._before.remember()
        for group in self.param_groups:
            self._step_group(group)
        if self.found_inf is not None and self._before is not None:
            self._before.where(self.found_inf > 0)

    def _step_group(self, group: dict[str, Any]) -> None:
        kernels = [kernel for kernel in group["params"] if kernel.grad is not None]
        if not kernels:
            return
        grads = [kernel.grad.flatten(1) for kernel in kernels]
        if self.grad_scale is not None:
            grads = [*torch._foreach_div(grads, self.grad_scale)]
        buffers = [self.state[kernel]["momentum_buffer"] for kernel in kernels]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        torch._foreach_mul_(kernels, 1 - group["lr"] * group["weight_decay"])
        alike: dict[torch.Size, list[int]] = defaultdict(list)
        for index, grad in enumerate(grads):
            alike[grad.shape].append(index)
        for shape, indices in alike.items():
            ahead = torch.stack([grads[i].lerp(buffers[i], group["momentum"]) for i in indices])
            directions = orthogonalized(ahead).to(ahead.dtype)
            # As long as a step of AdamW, whose elements are some 0.2 (arXiv 2502.16982, section 2.2).
            length = 0.2 * math.sqrt(max(shape)) * group["lr"]
            views = [kernels[i].flatten(1) for i in indices]
            torch._foreach_add_(views, [*directions.unbind()], alpha=-length)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state of `state_dict`."""
        super().load_state_dict(state_dict)
        self._before = None  # the buffers are others now


def orthogonalized(matrices: Tensor) -> Tensor:
    """The same singular vectors with singular values of about 1 each: (B, M, N) to (B, M, N).

    In bfloat16 on a GPU, else in the dtype that came.

    >>> values = torch.linalg.svdvals(orthogonalized(torch.randn(2, 8, 5)))
    >>> bool((values > 0.3).all() and (values < 1.3).all())
    True
    """
    x = matrices.bfloat16() if matrices.device.type == "cuda" else matrices
    if x.shape[1] > x.shape[2]:
        x = x.mT
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    first, third, fifth = COEFFICIENTS
    for _ in range(STEPS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=third, alpha=fifth), x, beta=first)
    return x.mT if matrices.shape[1] > matrices.shape[2] else x
