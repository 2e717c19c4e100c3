"""Muon for matrices over channels, AdamW for everything else, as one optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mobileone.errors import ConfigError
from mobileone.training.method.rollback import Rollback


class MuonAndAdamW(torch.optim.Optimizer):
    """torch's Muon, which takes matrices, on pointwise kernels seen as such, and its AdamW beside it.

    Muon's steps are scaled to be as long as AdamW's, so one learning rate and weight decay do for both.
    It heeds `grad_scale` and `found_inf` as torch's fused optimizers do: a step whose gradients are not
    finite changes nothing, and a GPU is not waited for.

    Args:
        groups: with lr and weight_decay; those with `is_matrix` are Muon's, kernels (C_out, C_in, 1, 1). The
            parameters must stay where they are.
        momentum: of Muon, and AdamW's first beta, in [0, 1).
        beta2: AdamW's second.

    Attributes:
        parts: the two optimizers, which hold the state.

    Raises:
        ConfigError: if this PyTorch has no Muon.
    """

    # The gradient scaler then leaves it to us to heed what it found.
    _step_supports_amp_scaling = True

    def __init__(self, groups: Sequence[dict[str, Any]], *, momentum: float, beta2: float) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise ConfigError(
                f"optim.name=muon needs PyTorch 2.9 or later, this is {torch.__version__}; take adamw or sgd"
            )
        super().__init__([dict(group) for group in groups], {"lr": 0.0, "weight_decay": 0.0})
        self._is_matrix = [group["is_matrix"] for group in self.param_groups]
        matrices = [group for group in self.param_groups if group["is_matrix"]]
        others = [group for group in self.param_groups if not group["is_matrix"]]
        self._kernels = [kernel for group in matrices for kernel in group["params"]]
        # The same memory as a matrix: what moves the one moves the other.
        views = {id(kernel): nn.Parameter(kernel.detach().flatten(1)) for kernel in self._kernels}
        self._views = list(views.values())
        muon, adamw = (
            _part(
                kind,
                [{"params": [views.get(id(p), p) for p in group["params"]]} for group in chosen],
                options,
            )
            for kind, chosen, options in (
                (torch.optim.Muon, matrices, {"momentum": momentum, "adjust_lr_fn": "match_rms_adamw"}),
                (torch.optim.AdamW, others, {"betas": (momentum, beta2), "fused": True}),
            )
        )
        self._muon, self._adamw = muon, adamw
        self.parts = tuple(part for part in (muon, adamw) if part is not None)
        if muon is not None:
            for view in self._views:
                muon.state[view]["momentum_buffer"] = torch.zeros_like(view)
        self._before: Rollback | None = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both."""
        assert closure is None
        for part, is_matrix in ((self._muon, True), (self._adamw, False)):
            own = [
                group
                for group, kind in zip(self.param_groups, self._is_matrix, strict=True)
                if kind is is_matrix
            ]
            for target, group in zip(part.param_groups if part is not None else [], own, strict=True):
                target["lr"], target["weight_decay"] = group["lr"], group["weight_decay"]
        bad: Tensor | None = getattr(self, "found_inf", None)
        if self._adamw is not None:
            adamw: Any = self._adamw
            adamw.grad_scale, adamw.found_inf = getattr(self, "grad_scale", None), bad
            try:
                adamw.step()
            finally:
                del adamw.grad_scale, adamw.found_inf
        if self._muon is not None:
            self._step_matrices(bad)

    def _step_matrices(self, bad: Tensor | None) -> None:
        assert self._muon is not None
        for kernel, view in zip(self._kernels, self._views, strict=True):
            view.grad = None if kernel.grad is None else kernel.grad.flatten(1)
        if bad is not None:
            if self._before is None:
                kept = [self._muon.state[view]["momentum_buffer"] for view in self._views]
                self._before = Rollback([*(view.detach() for view in self._views), *kept])
            self._before.remember()
            self._muon.step()
            self._before.where(bad > 0)
        else:
            self._muon.step()
        for view in self._views:
            view.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Of both, for `load_state_dict`."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state of `state_dict`."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._before = None  # the buffers are others now


def _part(kind: Any, groups: list[dict[str, Any]], options: dict[str, Any]) -> torch.optim.Optimizer | None:
    """An optimizer of these groups; None without any."""
    if not groups:
        return None
    part: torch.optim.Optimizer = kind(groups, lr=0.0, weight_decay=0.0, **options)
    return part
