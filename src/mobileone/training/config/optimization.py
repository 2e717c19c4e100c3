"""How weights move: rates, decay, momentum and averages. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from mobileone.training.config.rules import is_finite_from, require, require_choice

OptimizerName = Literal["sgd", "adamw", "muon"]
ScheduleName = Literal["cosine", "wsd"]

MOST_ADAPTIVE_LR = 0.05
"""Of `base_lr` with steps that are as long as the rate says; SGD's default is twice as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optim:
    """The optimizer, its schedule, and the average of the weights.

    Attributes:
        name: `"sgd"`, `"adamw"` (arXiv 1711.05101), or `"muon"`: Muon (arXiv 2502.16982) for pointwise
            kernels, AdamW for the rest, at the same rate.
        base_lr: peak learning rate for 256 images a step over all ranks; scaled in proportion.
        min_lr: learning rate at the end, absolute.
        warmup_epochs: epochs of linear warm-up, fractions allowed.
        schedule: after it `"cosine"`, or `"wsd"` (arXiv 2405.18392): the whole rate, then a fall in the last
            epochs, so that the number of epochs may be changed while the run goes on.
        cooldown: share of the epochs in which the rate falls, with `wsd`; whole epochs, one at least.
        layer_decay: learning rate of a block (a depthwise and a pointwise unit) relative to that of the
            block after it, in (0, 1]; the head's is the whole one.
        momentum: of SGD and Muon, first beta of AdamW, in [0, 1).
        beta2: second beta of AdamW, in [0, 1).
        weight_decay: at the start, on kernels alone: L2 coefficient of SGD; of AdamW and Muon the share that
            a step takes off, times the learning rate.
        weight_decay_end: the same at the end, falling as the learning rate does.
        clip_norm: largest norm of all gradients together; longer ones are shortened to it; 0 is off.
        ema_decay: of the averaged weights, in [0, 1); 0 is no averaging.

    Raises:
        ConfigError: on a value out of range.
    """

    name: OptimizerName = "sgd"
    base_lr: float = 0.1
    min_lr: float = 1e-4
    warmup_epochs: float = 0.0
    schedule: ScheduleName = "cosine"
    cooldown: float = 0.2
    layer_decay: float = 1.0
    momentum: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 1e-4
    weight_decay_end: float = 1e-5
    clip_norm: float = 0.0
    ema_decay: float = 0.9995

    def __post_init__(self) -> None:
        require_choice("optim.schedule", self.schedule, get_args(ScheduleName))
        require("optim.cooldown", 0 < self.cooldown < 1, "in (0, 1)", self.cooldown)
        require_choice("optim.name", self.name, get_args(OptimizerName))
        require("optim.base_lr", 0 < self.base_lr < math.inf, "above 0", self.base_lr)
        wanted = f"at most {MOST_ADAPTIVE_LR} with {self.name} (0.001 is usual; 0.1 is SGD's)"
        require("optim.base_lr", self.name == "sgd" or self.base_lr <= MOST_ADAPTIVE_LR, wanted, self.base_lr)
        require("optim.layer_decay", 0 < self.layer_decay <= 1, "in (0, 1]", self.layer_decay)
        for name in ("min_lr", "warmup_epochs", "weight_decay", "weight_decay_end", "clip_norm"):
            value = getattr(self, name)
            require(f"optim.{name}", is_finite_from(value, 0), "0 or more", value)
        for name in ("momentum", "beta2", "ema_decay"):
            value = getattr(self, name)
            require(f"optim.{name}", 0 <= value < 1, "in [0, 1)", value)
