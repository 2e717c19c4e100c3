"""This process among the ranks that torchrun started, or alone."""

from __future__ import annotations

import gc
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

# Functions in it have the group of import time as a default argument. Loaded later, by
# DistributedDataParallel, it would keep the group and gloo's threads alive after the group is destroyed, and
# these may abort the interpreter on its way out ("terminate called without an active exception").
import torch.distributed.nn
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from mobileone.errors import ConfigError, MobileOneError, PreemptedError
from mobileone.ranks.device import pick_device
from mobileone.ranks.launch import read_launch
from mobileone.ranks.rendezvous import agent_store

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distributed:
    """Which of how many processes this is; alone, every collective is a no-op.

    Attributes:
        rank: 0 to world_size − 1, over all machines.
        local_rank: the same within this machine, which picks the GPU.
        world_size: number of processes.
        device: where this process computes.

    >>> Distributed().reduce_sum(torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def reduce_sum(self, value: Tensor) -> Tensor:
        """The sum of `value` over all ranks, on each of them; a new tensor on the same device."""
        if self.world_size == 1:
            return value.clone()
        # Where gloo is there for CPU tensors they stay, and the GPU is not waited for.
        stays = f"{value.device.type}:" in dist.get_backend_config()
        total = value.clone() if stays else value.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(value.device)

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors with those of rank 0."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def gather(self, value: Any) -> list[Any]:
        """One small picklable object a rank, in the order of ranks, on each of them."""
        if self.world_size == 1:
            return [value]
        gathered: list[Any] = [None] * self.world_size
        dist.all_gather_object(gathered, value)
        return gathered

    def from_main(self, work: Callable[[], T]) -> T:
        """Run `work` on rank 0; every rank gets what it returned, or raises the error of ours it raised.

        The other ranks need not see the same files, and none is left waiting for one that failed.
        """
        if self.world_size == 1:
            return work()
        outcome: list[Any] = [None]
        if self.is_main:
            try:
                outcome = [work()]
            except MobileOneError as error:
                outcome = [error]
        dist.broadcast_object_list(outcome, src=0)
        if isinstance(outcome[0], MobileOneError):
            raise outcome[0]
        result: T = outcome[0]
        return result


@contextmanager
def distributed(device: str = "auto", *, timeout_s: float = 1800.0) -> Iterator[Distributed]:
    """Join the process group that torchrun's environment describes, and leave it at the end.

    After an error on GPUs it is not left: nccl would wait for ranks that wait for this one. torchrun ends
    them when this process ends (`end_process`).

    gloo on the CPU, nccl on CUDA, with gloo for what lies on the CPU. Without torchrun, or with one process,
    no group is made. A group that exists already is used and left alone.

    Args:
        device: `"auto"`, `"cpu"`, `"cuda"` or `"cuda:N"` (the last for one process).
        timeout_s: how long a rank waits for the others before it gives up.

    Raises:
        ConfigError: on an unknown device or an incomplete environment, or if ranks share a GPU.
    """
    rank, local_rank, world_size, _ = read_launch()
    picked = pick_device(device, local_rank=local_rank)
    if world_size > 1 and picked.type == "cuda" and torch.device(_unnumbered(device)).index is not None:
        raise ConfigError(f"{world_size} processes cannot share {picked}; pass device=cuda or auto")
    if picked.type == "cuda":
        torch.cuda.set_device(picked)
    this = Distributed(rank=rank, local_rank=local_rank, world_size=world_size, device=picked)
    own_group = world_size > 1 and not dist.is_initialized()
    if own_group:
        options: dict[str, Any] = {"timeout": timedelta(seconds=timeout_s)}
        if picked.type == "cuda":
            # With its device nccl starts at once, and fails here rather than in the first step.
            options |= {"backend": "cpu:gloo,cuda:nccl", "device_id": picked}
        else:
            options["backend"] = "gloo"
        store = agent_store(rank, world_size)
        if picked.type == "cuda":
            if store is None:
                store = next(rendezvous("env://", rank, world_size))[0]
            _refuse_shared(this, store)  # before nccl starts, which has an error of its own for it
        if store is not None:
            options |= {"store": store, "rank": rank, "world_size": world_size}
        dist.init_process_group(**options)
    leaves = own_group
    try:
        yield this
    except BaseException as error:
        # The others wait in an exchange with this rank, and until they end nccl would not let it go.
        leaves = own_group and (picked.type != "cuda" or isinstance(error, PreemptedError))
        raise
    finally:
        if leaves:
            gc.collect()  # a DistributedDataParallel holds the group, in a reference cycle
            dist.destroy_process_group()


def end_process(code: int) -> None:
    """End at once if there still is a group, which an error has kept this process from leaving; else return.

    For the last line of a program: the interpreter's own end would wait for the group. An exception that is
    being handled is printed first.
    """
    if dist.is_initialized():
        if sys.exc_info()[1] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _unnumbered(device: str) -> str:
    return "cuda" if device == "auto" else device


def _refuse_shared(this: Distributed, store: Any) -> None:
    """Refuse two ranks on one GPU.

    Raises:
        ConfigError: then.
    """
    machine = platform.node()
    gpu = f"{torch.cuda.get_device_properties(this.device).uuid} {machine}"
    store.set(f"gpu/{this.rank}", gpu)
    gpus = [store.get(f"gpu/{rank}").decode() for rank in range(this.world_size)]
    if len(set(gpus)) < len(gpus):
        ranks = [rank for rank, other in enumerate(gpus) if other == gpu]
        raise ConfigError(
            f"ranks {', '.join(map(str, ranks))} would share {this.device} of {machine}; start as many ranks "
            "as there are GPUs, each with one of its own in CUDA_VISIBLE_DEVICES or all with the same list"
        )
