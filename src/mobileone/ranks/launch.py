"""Which of how many processes this is, as the launcher's environment tells. No torch."""

from __future__ import annotations

import os
from typing import NamedTuple

from mobileone.errors import ConfigError


class Launch(NamedTuple):
    """This process among those that were started together; alone it is the first of one.

    Attributes:
        rank: 0 to world_size − 1, over all machines.
        local_rank: the same within this machine.
        world_size: number of processes.
        here: how many of them share this machine and its cores.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    here: int = 1


def read_launch() -> Launch:
    """What torchrun, or whoever set RANK, WORLD_SIZE and LOCAL_RANK, says of this process.

    Raises:
        ConfigError: if one of them is no number, or the rank is none of that many.
    """
    rank, local_rank, world_size = (_number(name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    world_size = max(world_size, 1)
    if rank >= world_size:
        raise ConfigError(
            f"the environment's RANK is {rank}, of {world_size} processes (WORLD_SIZE); ranks count from 0"
        )
    return Launch(rank, local_rank, world_size, max(_number("LOCAL_WORLD_SIZE") or world_size, 1))


def ranks_here() -> int:
    """How many ranks share this machine and its cores; alone 1."""
    return read_launch().here


def _number(name: str) -> int:
    text = os.environ.get(name, "0")
    if not text.isdigit():
        raise ConfigError(
            f"the environment's {name} must be a number, got {text!r}; start ranks with torchrun"
        )
    return int(text)
