"""The optimizers, and their parameters in groups: kernels, which are decayed, and the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mobileone.errors import ConfigError
from mobileone.training.config.optimization import Optim
from mobileone.training.method.muon import MuonAndAdamW

DECAY, NO_DECAY = "decay", "no_decay"

_UNIT = re.compile(r"stages\.(\d+)\.(\d+)\.")


def create_optimizer(model: nn.Module, optim: Optim, *, lr: float) -> torch.optim.Optimizer:
    """The optimizer over groups `"decay"` (kernels, linear weights) and `"no_decay"` (norms, biases).

    With a layer decay there are two for every block, named after it, and with Muon pointwise kernels have
    groups of their own.

    Args:
        model: its trainable parameters are taken; those of two axes and more are decayed.
        optim: which optimizer, its momentum and decay.
        lr: learning rate of the last layer, absolute.

    Raises:
        ConfigError: if nothing is trainable, or this PyTorch has no such optimizer.

    >>> groups = create_optimizer(nn.Linear(4, 2), Optim(), lr=0.1).param_groups
    >>> [(group["name"], group["weight_decay"], len(group["params"])) for group in groups]
    [('decay', 0.0001, 1), ('no_decay', 0.0, 1)]
    """
    groups = _groups(model, optim, lr)
    # Fused: one kernel for all of S0's 645 tensors (a third of the time on a CPU), and on CUDA it takes the
    # gradient scaler's verdict from the device, so that fp16 does not wait for it.
    if optim.name == "muon":
        return MuonAndAdamW(groups, momentum=optim.momentum, beta2=optim.beta2)
    if optim.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=(optim.momentum, optim.beta2), fused=True)
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=optim.momentum, fused=True)
    if optim.momentum:
        # torch 2.13 makes these uninitialised in the first step and fills them only if no gradient
        # overflows, which in fp16 the first step's often do. A momentum of zero is the same start.
        for parameter in (p for group in groups for p in group["params"]):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def set_schedule_(optimizer: torch.optim.Optimizer, *, lr: float, weight_decay: float) -> None:
    """Write this step's learning rate into every group, and its weight decay into the decayed ones alone."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)  # resume files of before have none
        if group["name"].split()[0] == DECAY:
            group["weight_decay"] = weight_decay


def state_tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """What the optimizer keeps between steps."""
    states = (part.state.values() for part in getattr(optimizer, "parts", (optimizer,)))
    return [value for part in states for one in part for value in one.values() if isinstance(value, Tensor)]


def layer_names(model: nn.Module) -> list[tuple[str, str]]:
    """Name of each parameter, and of the block that it is in: `"stem"`, `"stages.2.4"`, `"head"`.

    A block is a depthwise unit and the pointwise one after it, named after the first. What is in none
    of them, as in a module that is no MobileOne, counts to the head.
    """
    named = []
    for name, _ in model.named_parameters():
        unit = _UNIT.match(name)
        block = f"stages.{unit[1]}.{int(unit[2]) // 2 * 2}" if unit else "head"
        named.append((name, "stem" if name.startswith("stem.") else block))
    return named


def _groups(model: nn.Module, optim: Optim, lr: float) -> list[dict[str, Any]]:
    parameters = dict(model.named_parameters())
    trainable = [(name, block) for name, block in layer_names(model) if parameters[name].requires_grad]
    if not trainable:
        raise ConfigError(f"the {type(model).__name__} has no trainable parameter")
    blocks = list(dict.fromkeys(block for _, block in layer_names(model)))
    blocks = [*(block for block in blocks if block != "head"), "head"]
    by_layer = optim.layer_decay < 1
    groups: dict[tuple[str, bool, bool], dict[str, Any]] = {}
    kinds = (
        [(True, True), (True, False), (False, False)]
        if optim.name == "muon"
        else [(True, False), (False, False)]
    )
    for index, layer in enumerate(blocks if by_layer else [""]):
        scale = optim.layer_decay ** (len(blocks) - 1 - index) if by_layer else 1.0
        for decays, is_matrix in kinds:
            words = [DECAY if decays else NO_DECAY, *(["pointwise"] if is_matrix else []), layer]
            groups[layer, decays, is_matrix] = {
                "name": " ".join(word for word in words if word),
                "params": [],
                "lr": lr * scale,
                "lr_scale": scale,
                "weight_decay": optim.weight_decay if decays else 0.0,
            }
            if optim.name == "muon":
                groups[layer, decays, is_matrix]["is_matrix"] = is_matrix
    for name, block in trainable:
        parameter = parameters[name]
        decays = parameter.ndim > 1
        is_matrix = optim.name == "muon" and _is_pointwise(parameter)
        groups[block if by_layer else "", decays, is_matrix]["params"].append(parameter)
    return [*_used(groups.values(), keep_empty=not by_layer and optim.name != "muon")]


def _used(groups: Any, *, keep_empty: bool) -> Iterator[dict[str, Any]]:
    """Groups with parameters; the two of a plain optimizer are there anyway, as in its resume files."""
    yield from (group for group in groups if group["params"] or keep_empty)


def _is_pointwise(parameter: Tensor) -> bool:
    """Whether it is a pointwise convolution's kernel: a matrix over channels, (C_out, C_in, 1, 1)."""
    return parameter.ndim == 4 and parameter.shape[2:] == (1, 1) and parameter.shape[1] > 1
