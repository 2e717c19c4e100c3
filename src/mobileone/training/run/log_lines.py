"""What a run says in words: its start, an epoch, and the line beside the progress bar."""

from __future__ import annotations

import torch

from mobileone.evaluation.metric_names import METRICS, title_of
from mobileone.evaluation.metrics import EvalResult
from mobileone.input_spec import Size, size_text
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.progress import RunProgress
from mobileone.training.run.trainer import Trainer
from mobileone.training.watch.memory import peak_memory_gb
from mobileone.training.watch.records import EpochRecord, StepReport
from mobileone.training.watch.time_left import duration, seconds_left


def start_line(trainer: Trainer, progress: RunProgress, *, num_val: int, started_with: int) -> str:
    """What is trained on what, and where it goes on.

    Args:
        trainer: of the run.
        progress: where it stands.
        num_val: validation images.
        started_with: number of ranks that the run was first started with.
    """
    config, network, dist, now = trainer.config, trainer.network, trainer.dist, progress.now
    resumed = f"resumed in epoch {now.epoch + 1} after step {now.steps}: " if progress.step else ""
    shares = f"{dist.world_size} × {config.batch_size} images each"
    if started_with != dist.world_size:
        shares = (
            f"{trainer.step_images} images each as with the {started_with} ranks at the start, now on "
            f"{dist.world_size}"
        )
    how = (
        f"{config.epochs} epochs of {trainer.steps_per_epoch} steps, {shares}; peak lr "
        f"{trainer.schedule.peak_lr:.4g}"
    )
    if config.probe.is_all:
        resumed = "resumed: " if progress.records else ""
        size = size_text(network.input_spec.size)
        how = f"a linear probe of its {network.num_features} features at {size} px"
    return (
        f"{resumed}{network.variant.name} on {config.data}: {len(trainer.train_set)} training and {num_val} "
        f"validation images, {network.num_classes} classes; {how}; {dist.device.type}, amp "
        f"{trainer.step.amp or 'off'}"
    )


def epoch_line(record: EpochRecord, trainer: Trainer, progress: RunProgress) -> str:
    """A finished epoch; `progress` stands at the start of the next one."""
    config = trainer.config
    tested = ""
    if record.metrics:
        figures = "  ".join(f"{title_of(name)} {record.metrics[name]:.2f}" for name in shown_figures(config))
        tested = f"val loss {record.val_loss:.4f}  {figures}  "
    rate = f"penalty {record.weight_decay:g}" if config.probe.is_all else f"lr {record.lr:.4g}"
    line = (
        f"epoch {record.epoch}/{config.epochs}  train loss {record.train_loss:.4f}  {tested}"
        f"{rate}  {record.seconds:.1f} s  {record.images_per_second:.0f} images/s  "
        f"data {record.data_wait:.0%}"
    )
    if record.epoch < config.epochs:
        step_seconds = trainer.step_images / record.images_per_second
        size = config.images_at(record.epoch - 1).size
        left = seconds_to_go(config, progress, step_seconds=step_seconds, size=size)
        line += f"  {duration(left)} left"
    return line + ("  best" if record is progress.best() else "")


def shown_figures(config: TrainConfig) -> list[str]:
    """The figures that an epoch's line has: the first two of the task, and the one that is selected by."""
    chosen = [] if config.select == "loss" else [config.select]
    return list(dict.fromkeys([*METRICS[config.task][:2], *chosen]))


def bar_line(report: StepReport, last: EvalResult | None, device: torch.device) -> str:
    """Where a run is, for the progress bar."""
    name = next(iter(last.metrics)) if last else ""
    test = f"{title_of(name)} {last.metrics[name]:.2f}, " if last else ""
    return (
        f"loss {report.loss:.3f}, {test}lr {report.lr:.4f}, {report.images_per_second:.0f} images/s, "
        f"data {report.data_wait:.0%}, {peak_memory_gb(device):.1f} GB, {duration(report.seconds_left)} left"
    )


def seconds_to_go(config: TrainConfig, progress: RunProgress, *, step_seconds: float, size: Size) -> float:
    """What a run still takes, when a step of images of that size took `step_seconds`."""
    return seconds_left(
        config,
        epoch=progress.now.epoch,
        steps=progress.now.steps,
        steps_per_epoch=progress.steps_per_epoch,
        step_seconds=step_seconds,
        size=size,
        test_seconds=progress.last.seconds if progress.last else 0.0,
    )
