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
    # Fused: one kernel for all of S0's 645 tensors (a third of the time on a CPU), and on CUDA it takes the
    # gradient scaler's verdict from the device, so that fp16 does not wait for it.
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=True)
    if momentum:
        # torch 2.13 makes these uninitialised in the first step and fills them only if no gradient
        # overflows, which in fp16 the first step's often do. A momentum of zero is the same start.
        for parameter in trainable:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def set_schedule_(optimizer: torch.optim.Optimizer, *, lr: float, weight_decay: float) -> None:
    """Write this step's learning rate into every group, and its weight decay into the decayed one alone."""
    for group in optimizer.param_groups:
        group["lr"] = lr
        if group["name"] == DECAY:
            group["weight_decay"] = weight_decay
