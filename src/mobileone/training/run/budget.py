"""A run that ends in a given time on this machine: steps are timed, then epochs and sizes chosen."""

from __future__ import annotations

import re
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

import torch

from mobileone.errors import ConfigError
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.input_spec import Size, sides, size_text, square_or_sides
from mobileone.ranks.device import pick_device
from mobileone.ranks.distributed import Distributed
from mobileone.ranks.launch import ranks_here
from mobileone.training.config.augmentation import Phase
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.adapt import MULTIPLE, STRIDE, Adapted, trained_size
from mobileone.training.run.run_sets import open_sets
from mobileone.training.run.trainer import Trainer, compute_settings, fused
from mobileone.training.watch.time_left import duration

TIMED_STEPS = 3
"""After one to warm up."""

MARGIN = 0.9
"""Share of the budget that is planned for: loading varies, and other programs want the machine too."""

FEW_EPOCHS = 5
"""Rather smaller images than fewer epochs than this."""

SHARES, SMALLEST = (7 / 8, 3 / 4, 5 / 8, 1 / 2), 96  # of the side, and the side itself, pixels

FIRST_UNTIL, FIRST_SHARE = 3 / 4, 3 / 4
"""Share of the epochs that may come first with smaller images, and the share of the side that these have."""

BUDGETED_FIELDS = ("epochs", "input_spec.size", "optim.warmup_epochs", "progressive")
"""What a budget may decide."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a run takes on this machine, at its image size.

    Attributes:
        step_seconds: of a step, its images loaded and augmented.
        image_seconds: to load and evaluate an image.
        steps_per_epoch: optimizer steps.
        num_train: training images.
        num_val: validation images.
        teacher_seconds: of a teacher that looks at all training images before the first step.
    """

    step_seconds: float
    image_seconds: float
    steps_per_epoch: int
    num_train: int
    num_val: int
    teacher_seconds: float = 0.0

    def run_seconds(self, config: TrainConfig, *, measured_at: Size) -> float:
        """Of all epochs of a run, its evaluations, what comes before (features, teacher), and the report.

        Args:
            config: of the run.
            measured_at: image size of this pace; time is in proportion to pixels.
        """
        pixels = sum(_area(config.images_at(epoch).size) for epoch in range(config.epochs))
        tests = sum(config.is_tested(epoch) for epoch in range(config.epochs))
        evaluated = (tests + 1) * self.num_val + self.num_train * config.probe.comes_first
        training = pixels * self.steps_per_epoch * self.step_seconds
        evaluating = _area(config.input_spec.size) * evaluated * self.image_seconds
        return self.teacher_seconds + (training + evaluating) / _area(measured_at)


def parse_budget(text: str) -> float:
    """Seconds of `"90s"`, `"10m"` or `"1.5h"`.

    Raises:
        ConfigError: on anything else.

    >>> parse_budget("10m")
    600.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text.strip())
    if match is None or not float(match[1]):
        raise ConfigError(f"a budget must be a time such as 90s, 10m or 1.5h, got {text!r}")
    return float(match[1]) * _UNITS[match[2]]


def within_budget(config: TrainConfig, budget_s: float, *, keep: Container[str] = ()) -> Adapted:
    """A configuration that ends in that time, evaluations included, if this machine keeps its pace.

    A few steps are made, of real images, and not kept. There are as many epochs as fit, up to those that the
    configuration has. Where fewer than 5 fit, most of them take images of three quarters of the side, and
    where that is not enough, all images get smaller, down to half the side.

    Args:
        config: of the run, all else decided.
        budget_s: seconds of wall time, from the start of training.
        keep: full names of the fields that are to stay; `"input_spec.size"` and `"progressive"` are heeded.

    Raises:
        ConfigError: if not even an epoch fits, there are several ranks, or the run has no epochs to choose.
    """
    if config.probe.is_all:
        raise ConfigError("a probe has no epochs that a budget could choose; leave the budget out")
    if ranks_here() > 1:
        raise ConfigError("a budget is measured on one process; with several ranks set epochs instead")
    started = time.monotonic()
    return chosen(config, budget_s, measured(config), time.monotonic() - started, keep=keep)


def chosen(
    config: TrainConfig, budget_s: float, pace: Pace, measuring_s: float, *, keep: Container[str] = ()
) -> Adapted:
    """The choice, given the pace: `within_budget` without the measuring.

    Args:
        config: of the run.
        budget_s: wall time, seconds.
        pace: of the run as it is.
        measuring_s: what measuring took: the run will set itself up once more.
        keep: as for `within_budget`.

    Raises:
        ConfigError: if not even an epoch fits.
    """
    measured_at, room = config.images_at(0).size, MARGIN * budget_s - measuring_s
    best = least = None
    for size, phases in _sizes(config, keep):
        for epochs in range(config.epochs, 0, -1):
            try:
                tried = _lasting(config, epochs, size, phases)
            except ConfigError:  # too few epochs for the phases
                break
            least = pace.run_seconds(tried, measured_at=measured_at)
            if least <= room:
                best = tried if best is None or best.epochs < tried.epochs else best
                break
        if best is not None and best.epochs >= min(FEW_EPOCHS, config.epochs):
            break
    if best is None:
        assert least is not None
        needed = duration((least + measuring_s) / MARGIN)
        raise ConfigError(
            f"a budget of {duration(budget_s)} is too short for an epoch of {pace.num_train} images on this "
            f"machine; it takes some {needed}, so give more, or fewer images"
        )
    sizes = dict.fromkeys(size_text(best.images_at(epoch).size) for epoch in range(best.epochs))
    line = (
        f"budget {duration(budget_s)}: {best.epochs} epochs at {', then '.join(sizes)} px, for a step took "
        f"{pace.step_seconds:.2f} s at {size_text(measured_at)} px"
    )
    if best.epochs == config.epochs:
        line += f"; no more than the recipe's {config.epochs}, so it may end earlier"
    return Adapted(config=best, reasons=(line,))


def as_long_as(config: TrainConfig, other: TrainConfig) -> Adapted:
    """A configuration with what a budget has decided for another run, so that the two can be compared."""
    like = _lasting(config, other.epochs, other.input_spec.size, other.progressive)
    line = f"budget: {other.epochs} epochs up to {size_text(other.input_spec.size)} px, as another fold has"
    return Adapted(config=like, reasons=(line,))


def _lasting(config: TrainConfig, epochs: int, size: Size, phases: tuple[Phase, ...]) -> TrainConfig:
    """The configuration with so many epochs, of these sizes."""
    return replace(
        config,
        epochs=epochs,
        progressive=phases,
        input_spec=replace(config.input_spec, size=size),
        optim=replace(config.optim, warmup_epochs=min(config.optim.warmup_epochs, epochs / 5)),
    )


def measured(config: TrainConfig) -> Pace:
    """Make a few steps and an evaluation, on a network that is then dropped."""
    dist = Distributed(device=pick_device(config.compute.device))
    if dist.device.type == "cuda":
        torch.cuda.set_device(dist.device)  # as the run will
    with compute_settings(config, dist.device):
        return _measured(config, dist)


def _measured(config: TrainConfig, dist: Distributed) -> Pace:
    train_set, val_set, _ = open_sets(config)
    trainer = Trainer(config, train_set, dist)
    try:
        times: list[float] = []
        last = time.perf_counter()
        for index, batch in enumerate(trainer.batches(0)):
            trainer.take(batch, step=index)
            _finish(dist.device)
            times.append(time.perf_counter() - last)
            if len(times) > TIMED_STEPS:
                break
            last = time.perf_counter()
    finally:
        trainer.loader.close()
    network = TorchClassifier(fused(trainer.network), amp=trainer.step.amp)
    network.logits(batch.images)
    _finish(dist.device)
    last = time.perf_counter()
    network.logits(batch.images)
    _finish(dist.device)
    forward = (time.perf_counter() - last) / len(batch.images)
    steps = times[1:] or times
    return Pace(
        step_seconds=sum(steps) / len(steps),
        # Loading for an evaluation has not been timed; half as much again covers it on a CPU.
        image_seconds=1.5 * forward,
        steps_per_epoch=trainer.steps_per_epoch,
        num_train=len(train_set),
        num_val=len(val_set),
        teacher_seconds=_teacher_seconds(trainer),
    )


def _teacher_seconds(trainer: Trainer) -> float:
    """What a teacher takes that looks at all images once; one that looks in every step is timed in these."""
    distill, teacher = trainer.config.distill, trainer.teacher
    if teacher is None or not distill.looks_once:
        return 0.0
    count, device = min(trainer.config.batch_size, len(trainer.train_set)), trainer.dist.device
    pixels = torch.zeros(count, 3, *sides(teacher.input_spec.size), dtype=torch.uint8, device=device)
    teacher(pixels)
    _finish(device)
    started = time.perf_counter()
    teacher(pixels)
    _finish(device)
    views = 2 if distill.views == "mirrored" else 1
    # As for an evaluation, its loading has not been timed.
    return 1.5 * views * len(trainer.train_set) / count * (time.perf_counter() - started)


def _sizes(config: TrainConfig, keep: Container[str]) -> Iterator[tuple[Size, tuple[Phase, ...]]]:
    """Sizes to choose from and what comes before them, the dearest first."""
    whole, phases = config.input_spec.size, config.progressive
    yield whole, phases
    # What `adapt` puts in is no phase of a recipe: all training images are a little smaller throughout.
    is_adapted = "progressive" not in keep and phases == (Phase(until=1.0, size=trained_size(whole)),)
    for share in (1.0, *SHARES):
        size = _scaled(whole, share, STRIDE if is_adapted else MULTIPLE)
        if share < 1 and ("input_spec.size" in keep or min(sides(size)) < SMALLEST):
            continue
        if phases and not is_adapted:
            yield size, tuple(replace(phase, size=_scaled(phase.size, share)) for phase in phases)
            continue
        trained = trained_size(size) if is_adapted else size
        all_along = (Phase(until=1.0, size=trained),) if trained != size else ()
        if "progressive" not in keep:
            yield size, (Phase(until=FIRST_UNTIL, size=_scaled(trained, FIRST_SHARE)), *all_along)
        yield size, all_along


def _scaled(size: Size, share: float, multiple: int = MULTIPLE) -> Size:
    """A size of about that share of the sides."""
    if share == 1:
        return size
    height, width = (max(round(share * side / multiple) * multiple, multiple) for side in sides(size))
    return square_or_sides(height, width)


def _area(size: Size) -> int:
    """Pixels."""
    height, width = sides(size)
    return height * width


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
