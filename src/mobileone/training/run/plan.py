"""What a run would be: its parameter groups, and what it would take, from a few steps that are not kept."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mobileone.data.shards.address import is_remote, is_url
from mobileone.data.source import ImageSource
from mobileone.errors import ConfigError, TrainingError
from mobileone.input_spec import Size, size_text
from mobileone.ranks.distributed import Distributed, distributed
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.optim import state_tensors
from mobileone.training.run.run_sets import open_sets
from mobileone.training.run.trainer import Trainer, compute_settings
from mobileone.training.watch.memory import SAFETY, available_bytes, peak_bytes
from mobileone.training.watch.schedule_plot import draw_schedule
from mobileone.training.watch.trial import Trial

TIMED_STEPS = 2
LONG_S = 10.0  # a step this long is timed once
DATA_S = 15.0  # at most, for the loader
TRIAL_SHARE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterGroup:
    """Parameters that are treated alike.

    Attributes:
        name: `"decay"`, `"no_decay"` or `"frozen"`.
        num_tensors: how many there are.
        num_parameters: numbers in them.
        weight_decay: at the start.
    """

    name: str
    num_tensors: int
    num_parameters: int
    weight_decay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasePlan:
    """Epochs of one image size.

    Attributes:
        epochs: how many.
        size: of the images, pixels.
        strength: factor on the policy's magnitudes.
        step_seconds: forward, backward and update of one step, without loading.
    """

    epochs: int
    size: Size
    strength: float
    step_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A run that has not been started.

    Attributes:
        config: resolved.
        num_images: training images.
        num_classes: of the data.
        ranks: number of processes.
        device: where this one computes.
        steps_per_epoch: optimizer steps.
        step_images: images a step over all ranks.
        peak_lr: largest learning rate.
        groups: of parameters.
        phases: in order.
        num_workers: loader processes a rank.
        data_seconds: loading one step's images on this rank, with its workers, while nothing else runs.
        timed_batch: images of the steps that were timed, on a rank.
        memory_bytes: the most that a step needs at once on a rank, with weights, momentum and averages.
        is_measured: whether the memory was measured at the real batch; else it is a straight line through
            two smaller ones, and the times are scaled in proportion.
    """

    config: TrainConfig
    num_images: int
    num_classes: int
    ranks: int
    device: str
    steps_per_epoch: int
    step_images: int
    peak_lr: float
    groups: tuple[ParameterGroup, ...]
    phases: tuple[PhasePlan, ...]
    num_workers: int
    data_seconds: float
    timed_batch: int
    memory_bytes: int
    is_measured: bool

    @property
    def seconds(self) -> float:
        """The whole training, without evaluation: a step takes the longer one of computing and loading, or
        both where they share the cores."""
        together = self.device == "cpu" or self.num_workers == 0
        return sum(
            phase.epochs
            * self.steps_per_epoch
            * (
                phase.step_seconds + self.data_seconds
                if together
                else max(phase.step_seconds, self.data_seconds)
            )
            for phase in self.phases
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; with `seconds`, the whole training."""
        return dataclasses.asdict(self) | {"config": self.config.to_dict(), "seconds": self.seconds}


def plan(config: TrainConfig, *, picture: Path | None = None) -> RunPlan:
    """Look ahead at a run: everything is set up as for training, and refused as there; nothing is kept.

    Args:
        config: of the run.
        picture: where to write the schedule as PNG, on the main rank; None writes nothing at all.

    Raises:
        MobileOneError: as `fit` does before its first step.
        TrainingError: if a program would have to be started to get at the data.
        TrainingError: if not even a small batch fits into memory.
    """
    for name in ("data", "val_data"):
        address = getattr(config, name)
        if address is not None and is_remote(address) and not is_url(address):
            raise TrainingError(
                f"a dry run starts no programs, and {name}={address} would; give data on this machine"
            )
    if config.probe.is_all:
        raise ConfigError(
            "a probe has no steps to plan: it takes about as long as an evaluation of the training images"
        )
    with distributed(config.compute.device) as dist:
        train_set, _, _ = open_sets(config, dist=dist)
        trainer = Trainer(config, train_set, dist)
        try:
            if picture is not None and dist.is_main:
                draw_schedule(config, trainer.schedule, picture)
            with compute_settings(config, dist.device):
                return _measured(trainer, train_set, dist)
        finally:
            trainer.loader.close()


def _measured(trainer: Trainer, train_set: ImageSource, dist: Distributed) -> RunPlan:
    config = trainer.config
    per_rank = math.ceil(trainer.step_images / dist.world_size)
    trainer.train_mode()
    trial = Trial(trainer.step)
    memory, timed, is_measured = _memory(trainer, trial, per_rank)
    phases, times = [], dict[Size, float]()
    for first, epochs in _phases(config):
        at = config.images_at(first)
        if at.size not in times:
            times[at.size] = _step_seconds(trial, timed, at.size) * per_rank / timed
        phases.append(
            PhasePlan(epochs=epochs, size=at.size, strength=at.strength, step_seconds=times[at.size])
        )
    return RunPlan(
        config=config,
        num_images=len(train_set),
        num_classes=len(train_set.classes),
        ranks=dist.world_size,
        device=str(dist.device),
        steps_per_epoch=trainer.steps_per_epoch,
        step_images=trainer.step_images,
        peak_lr=trainer.schedule.peak_lr,
        groups=_groups(trainer),
        phases=tuple(phases),
        num_workers=trainer.loader.num_workers,
        data_seconds=_data_seconds(trainer),
        timed_batch=timed,
        memory_bytes=memory,
        is_measured=is_measured,
    )


def _phases(config: TrainConfig) -> list[tuple[int, int]]:
    """First epoch and number of epochs of every phase."""
    ends = [*(config.last_epoch(phase) for phase in config.progressive), config.epochs]
    return [(first, end - first) for first, end in zip([0, *ends], ends, strict=False) if end > first]


def _groups(trainer: Trainer) -> tuple[ParameterGroup, ...]:
    groups = [
        ParameterGroup(
            name=group["name"],
            num_tensors=len(group["params"]),
            num_parameters=sum(p.numel() for p in group["params"]),
            weight_decay=group["weight_decay"],
        )
        for group in trainer.step.optimizer.param_groups
    ]
    frozen = [p for p in trainer.network.parameters() if not p.requires_grad]
    if frozen:
        size = sum(p.numel() for p in frozen)
        groups.append(
            ParameterGroup(name="frozen", num_tensors=len(frozen), num_parameters=size, weight_decay=0.0)
        )
    return tuple(groups)


def _step_seconds(trial: Trial, count: int, size: Size) -> float:
    """What a step takes, the mean of a few after one to warm up."""
    first = _timed(trial, count, size)
    number = 1 if first > LONG_S else TIMED_STEPS
    return sum(_timed(trial, count, size) for _ in range(number)) / number


def _timed(trial: Trial, count: int, size: Size) -> float:
    started = time.perf_counter()
    trial(count, size)
    if trial.step.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _memory(trainer: Trainer, trial: Trial, per_rank: int) -> tuple[int, int, bool]:
    """Bytes of a step of the real batch at the last size; the batch to time; whether it is the real one."""
    dist, size, parts = trainer.dist, trainer.config.input_spec.size, trainer.config.compute.accumulate
    small = max(per_rank // TRIAL_SHARE, 2 * parts)  # BatchNorm wants two images a part
    standing = 0 if dist.device.type == "cuda" else _standing_bytes(trainer)
    if 2 * small >= per_rank:
        return standing + _peak(trial, per_rank, size, dist), per_rank, True
    one, two = (_peak(trial, count, size, dist) for count in (small, 2 * small))
    per_image = max(two - one, 1) / small
    fixed = one - per_image * small
    available = available_bytes(dist.device)
    room = math.inf if available is None else SAFETY * available
    fits = min(per_rank, int(min((room - fixed) / per_image, per_rank)))
    timed = min(dist.gather(max(fits, 2 * small)))
    if timed < per_rank:
        return standing + int(fixed + per_image * per_rank), timed, False
    return standing + _peak(trial, per_rank, size, dist), per_rank, True


def _peak(trial: Trial, count: int, size: Size, dist: Distributed) -> int:
    peak, done = peak_bytes(lambda images: trial(images, size), count, dist.device)
    if not done:
        raise TrainingError(
            f"out of memory with {count} images of {size_text(size)} px on a rank; "
            "lower batch_size or input_size, or raise accumulate"
        )
    return peak


def _standing_bytes(trainer: Trainer) -> int:
    """Weights, momentum and averages, which are there between the steps."""
    tensors = [*trainer.network.parameters(), *trainer.network.buffers()]
    if trainer.ema is not None:
        tensors += [*trainer.ema.module.parameters(), *trainer.ema.module.buffers()]
    tensors += state_tensors(trainer.step.optimizer)
    return sum(tensor.nbytes for tensor in tensors)


def _data_seconds(trainer: Trainer) -> float:
    """Loading a step's images of the last phase, at the pace that the workers keep up."""
    trainer.loader.set_epoch(trainer.config.epochs - 1)
    wanted = 1 + max(2, 2 * trainer.loader.num_workers)
    started = time.perf_counter()
    arrivals: list[float] = []
    for _ in trainer.loader:
        arrivals.append(time.perf_counter())
        if len(arrivals) == wanted or arrivals[-1] - started > DATA_S:
            break
    return _pace(started, arrivals)


def _pace(started: float, arrivals: Sequence[float]) -> float:
    """Seconds a batch, the first one (with the start of the workers) left out where there are others."""
    if len(arrivals) == 1:
        return arrivals[0] - started
    return (arrivals[-1] - arrivals[0]) / (len(arrivals) - 1)
