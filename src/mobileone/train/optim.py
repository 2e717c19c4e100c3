"""SGD with momentum, its weight decay on kernels alone."""

from __future__ import annotations

import torch
from torch import nn

from mobileone.errors import ConfigError

DECAY, NO_DECAY = "decay", "no_decay"


def create_optimizer(model: nn.Module, *, lr: float, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """SGD over two groups: `"decay"` (kernels, linear weights) and `"no_decay"` (norms, biases).

    Args:
        model: its trainable parameters are taken; those of two axes and more are decayed.
        lr: learning rate, absolute.
        momentum: in [0, 1).
        weight_decay: L2 coefficient of the decayed group.

    Raises:
        ConfigError: if nothing is trainable.

    >>> groups = create_optimizer(nn.Linear(4, 2), lr=0.1, momentum=0.9, weight_decay=1e-4).param_groups
    >>> [(group["name"], group["weight_decay"], len(group["params"])) for group in groups]
    [('decay', 0.0001, 1), ('no_decay', 0.0, 1)]
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise ConfigError(f"the {type(model).__name__} has no trainable parameter")
    groups = [
        {"name": DECAY, "params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"name": NO_DECAY, "params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    # The fused kernel takes the gradient scaler's verdict on the device: fp16 needs no synchronise.
    fused = all(p.device.type == "cuda" for p in trainable)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=fused, foreach=not fused)


def set_schedule_(optimizer: torch.optim.Optimizer, *, lr: float, weight_decay: float) -> None:
    """Write this step's learning rate into every group, and its weight decay into the decayed one alone."""
    for group in optimizer.param_groups:
        group["lr"] = lr
        if group["name"] == DECAY:
            group["weight_decay"] = weight_decay
