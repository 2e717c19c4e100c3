"""An exponential moving average of a network's weights and BatchNorm statistics."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


def warmed_decay(decay: float, num_updates: int) -> float:
    """The decay of update number `num_updates` (0 for the first): min(decay, (1 + t) / (10 + t)).

    A fixed 0.9995 remembers 2,000 steps, so a short run would average in its random start.

    >>> round(warmed_decay(0.9995, 0), 4), round(warmed_decay(0.9995, 90), 4), warmed_decay(0.9995, 10**6)
    (0.1, 0.91, 0.9995)
    """
    return min(decay, (1 + num_updates) / (10 + num_updates))


class _Pairs(NamedTuple):
    """Tensors of the average, and those of the network that they follow."""

    ours: list[Tensor]
    theirs: list[Tensor]


class ModelEma:
    """A copy of a network that follows it slowly.

    Floating-point parameters and buffers (BatchNorm's statistics too) are averaged; integer buffers, which
    are counters, are copied.

    Args:
        model: the network; the copy starts with its values, in eval mode, without gradients.
        decay: share of the old average that an update keeps, in (0, 1), after the warm-up.

    Attributes:
        module: the averaged network.
        num_updates: updates so far.

    >>> model = nn.Linear(1, 1)
    >>> ema = ModelEma(model, decay=0.9995)
    >>> _ = model.weight.data.fill_(1.0), ema.module.weight.data.fill_(0.0)
    >>> ema.update(model)
    >>> round(ema.module.weight.item(), 3)  # the first decay is 0.1
    0.9
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self._followed: nn.Module | None = None
        self._averages = self._counters = _Pairs([], [])

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model`, which has the same state-dict names.

        The tensors are looked up at the first update: they must stay the same.
        """
        if self._followed is not model:
            self._follow(model)
        torch._foreach_lerp_(*self._averages, 1 - warmed_decay(self.decay, self.num_updates))
        if self._counters.ours:
            torch._foreach_copy_(*self._counters)
        self.num_updates += 1

    def _follow(self, model: nn.Module) -> None:
        """Make the lists of what is averaged and what is copied, once."""
        current = model.state_dict(keep_vars=True)
        pairs = [(mine, current[name]) for name, mine in self.module.state_dict(keep_vars=True).items()]
        self._averages, self._counters = (
            _Pairs(*map(list, zip(*found, strict=True))) if found else _Pairs([], [])
            for found in (
                [pair for pair in pairs if pair[0].is_floating_point() is floating]
                for floating in (True, False)
            )
        )
        self._followed = model

    def state_dict(self) -> dict[str, Any]:
        """Tensors and a count, for `load_state_dict`."""
        return {"module": self.module.state_dict(), "num_updates": self.num_updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state of `state_dict`."""
        self.module.load_state_dict(state["module"])
        self.num_updates = int(state["num_updates"])
