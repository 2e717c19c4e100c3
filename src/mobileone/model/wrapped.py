"""The network inside what PyTorch wraps around it."""

from __future__ import annotations

from typing import TypeVar, cast

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from mobileone.errors import ConfigError
from mobileone.model.network import MobileOne

M = TypeVar("M")


def unwrap(model: M) -> M:
    """The module inside DataParallel, DistributedDataParallel, torch.compile and AveragedModel, however deep.

    Anything else is given back as it is.

    >>> inner = nn.Linear(1, 1)
    >>> unwrap(AveragedModel(nn.DataParallel(inner))).weight.shape, unwrap(inner) is inner
    (torch.Size([1, 1]), True)
    """
    module: object = model
    while isinstance(module, nn.Module):
        # Of torch.compile's class only this name, for importing it takes a second.
        inner = module._modules.get("_orig_mod")
        if inner is None and isinstance(module, DataParallel | DistributedDataParallel | AveragedModel):
            inner = module.module
        if inner is None:
            break
        module = inner
    return cast(M, module)


def as_network(model: object, *, wanted: str) -> MobileOne:
    """A network of ours, out of its wrappers.

    Args:
        model: what was given.
        wanted: the beginning of the message: what takes which kind of model.

    Raises:
        ConfigError: if it is none; if it holds one, where.

    >>> as_network(nn.ReLU(), wanted="saving takes a MobileOne")
    Traceback (most recent call last):
    mobileone.errors.ConfigError: saving takes a MobileOne, got ReLU
    """
    network = unwrap(model)
    if isinstance(network, MobileOne):
        return network
    held = [
        name
        for name, module in (network.named_modules() if isinstance(network, nn.Module) else ())
        if isinstance(module, MobileOne)
    ]
    hint = f"; it holds one, give its .{held[0]}" if held else ""
    raise ConfigError(f"{wanted}, got {type(network).__name__}{hint}")
