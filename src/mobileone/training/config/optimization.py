"""How weights move: rates, decay, momentum and averages. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mobileone.training.config.rules import is_finite_from, require


@dataclass(frozen=True, slots=True, kw_only=True)
class Optim:
    """SGD, its schedule, and the average of the weights.

    Attributes:
        base_lr: peak learning rate for 256 images a step over all ranks; scaled in proportion.
        min_lr: learning rate at the end, absolute.
        warmup_epochs: epochs of linear warm-up, fractions allowed.
        momentum: of SGD, in [0, 1).
        weight_decay: L2 coefficient at the start, on kernels alone.
        weight_decay_end: the same at the end, on the learning rate's cosine.
        clip_norm: largest norm of all gradients together; longer ones are shortened to it; 0 is off.
        ema_decay: of the averaged weights, in [0, 1); 0 is no averaging.

    Raises:
        ConfigError: on a value out of range.
    """

    base_lr: float = 0.1
    min_lr: float = 1e-4
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    weight_decay_end: float = 1e-5
    clip_norm: float = 0.0
    ema_decay: float = 0.9995

    def __post_init__(self) -> None:
        require("optim.base_lr", 0 < self.base_lr < math.inf, "above 0", self.base_lr)
        for name in ("min_lr", "warmup_epochs", "weight_decay", "weight_decay_end", "clip_norm"):
            value = getattr(self, name)
            require(f"optim.{name}", is_finite_from(value, 0), "0 or more", value)
        for name in ("momentum", "ema_decay"):
            value = getattr(self, name)
            require(f"optim.{name}", 0 <= value < 1, "in [0, 1)", value)
