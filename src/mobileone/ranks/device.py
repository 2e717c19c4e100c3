"""The device that a name and a rank mean."""

from __future__ import annotations

import os

import torch
import torch.distributed.nn

from mobileone.errors import ConfigError


def check_device(device: str | torch.device | int) -> torch.device:
    """A device on which tensors can be made here.

    Raises:
        ConfigError: if PyTorch knows no such device, or it is not here.

    >>> check_device("cpu")
    device(type='cpu')
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"device must be cpu, cuda, cuda:N or another that PyTorch knows, got {device!r}"
        ) from error
    try:
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:  # by kind of device
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {found} is not here ({reason}); give another, such as cpu") from error
    return found


def pick_device(name: str, *, local_rank: int = 0) -> torch.device:
    """The device behind `"auto"` (this rank's GPU, else the CPU), `"cpu"`, `"cuda"` or `"cuda:1"`.

    A rank that is shown a single GPU by CUDA_VISIBLE_DEVICES takes that, whatever its number.

    Raises:
        ConfigError: if there is no such device.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type != "cuda":
        return check_device(device)
    own = count == 1 and os.environ.get("CUDA_VISIBLE_DEVICES", ",").count(",") == 0
    index = (0 if own else local_rank) if device.index is None else device.index
    if index >= count:
        advice = "start fewer ranks or pass device=cpu" if local_rank else "pass device=cpu"
        raise ConfigError(f"device cuda:{index} wanted, {count} CUDA devices found; {advice}")
    return torch.device("cuda", index)
