"""A training run from its configuration to its folder of results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mobileone.data.open import open_data
from mobileone.errors import ConfigError, TrainingError
from mobileone.evaluation.metrics import EvalResult
from mobileone.ranks.distributed import Distributed, distributed
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.loop import Run
from mobileone.training.run.progress import EpochRecord, duration
from mobileone.training.run.run_dir import Resume, RunDir
from mobileone.training.run.trainer import Trainer
from mobileone.training.watch.callback import Callback as Callback


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What a run came to.

    Attributes:
        run_dir: its folder.
        best_epoch: first epoch of the largest top-1; 1 is the first.
        best_acc1: that top-1, percent.
        last: evaluation after the last epoch.
        records: every epoch.
        skipped: names of training images that could not be read.
        seconds: wall time of training, without evaluation, over all epochs.
    """

    run_dir: Path
    best_epoch: int
    best_acc1: float
    last: EvalResult
    records: tuple[EpochRecord, ...]
    skipped: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "run_dir": str(self.run_dir),
            "best_epoch": self.best_epoch,
            "best_acc1": self.best_acc1,
            "last": self.last.to_dict(),
            "records": [dataclasses.asdict(record) for record in self.records],
            "skipped": list(self.skipped),
            "seconds": self.seconds,
        }


def fit(
    config: TrainConfig | None,
    *,
    run_dir: str | Path,
    resume: Resume = False,
    callbacks: Sequence[Callback] = (),
    teacher: nn.Module | None = None,
    progress: bool = True,
) -> FitResult:
    """Train as `config` says; under torchrun as one of its ranks, else alone.

    After every epoch the averaged weights are evaluated, and the folder has config.json, metrics.csv,
    train.log, curves.png and the models `last` and `best` (averaged weights; best by top-1). Resume files in
    checkpoints/ are written then, and within an epoch as `config.saving.checkpoint_every` says. On SIGTERM or
    SIGUSR1 the run is saved at the next step and ends (docs/fault_tolerance.md).

    Args:
        config: the run; None, with `resume=True`, takes the stored one.
        run_dir: the folder to write, without a run in it. To resume, every rank must see it.
        resume: go on with the run in `run_dir` from its newest resume file; the result is that of a run never
            interrupted, to the last bit on a CPU. `"auto"` starts one if there is none. Ranks that torchrun
            starts again after a fault resume by themselves.
        callbacks: told what happens, on the main rank.
        teacher: a module to learn from as `config.distill` says, instead of one that is named there. It is
            put into eval mode. A run that is resumed needs it again.
        progress: whether to print epochs and a bar on stderr; train.log is written anyway.

    Raises:
        ConfigError: if `run_dir` holds a run and `resume` is not set, or holds another configuration.
        TrainingError: if there is nothing to resume, another process trains there, too many losses are not
            finite, memory runs out, or another rank is lost.
        PreemptedError: if it was told to stop; it is saved.
        DataError: if the data cannot be used.
        CheckpointError: if no resume file can be read.
        MobileOneError: if the folder cannot be written.
    """
    if config is None and resume is not True:
        raise ConfigError("a new run needs a config; pass one, or resume=True to go on with a stored run")
    config = config or RunDir(Path(run_dir)).read_config()
    files = RunDir(Path(run_dir), config.saving.weights_suffix)
    with distributed(config.compute.device) as dist:
        # A function of its own, so that the wrapped network is gone when the ranks part.
        return _train(
            config,
            files,
            dist,
            resume=resume,
            callbacks=callbacks,
            teacher=teacher,
            show=progress and dist.is_main,
        )


def _train(
    config: TrainConfig,
    files: RunDir,
    dist: Distributed,
    *,
    resume: Resume,
    callbacks: Sequence[Callback],
    teacher: nn.Module | None,
    show: bool,
) -> FitResult:
    decide = lambda: files.start(config, resume=resume, world_size=dist.world_size)  # noqa: E731
    start = dist.from_main(decide)
    train_set = open_data(config.data, split="train")
    val_set = open_data(config.val_data or config.data, split="val", classes=tuple(train_set.classes))
    with ExitStack() as owned:
        step_images = config.batch_size * start.world_size
        trainer = Trainer(config, train_set, dist, step_images=step_images, teacher=teacher)
        owned.callback(trainer.loader.close)
        run = Run(trainer, files, dist, val_set, show=show, callbacks=callbacks if dist.is_main else ())
        trainer.report = run.log
        dist.from_main(lambda: owned.enter_context(files.lock()) if dist.is_main else None)
        start = dist.from_main(decide)  # again, now that nobody else can change it
        if start.resumes:
            run.restore()
        else:
            dist.from_main(lambda: files.claim(config, world_size=dist.world_size))
        run.log(_headline(run, len(train_set), len(val_set), started_with=start.world_size))
        owned.enter_context(run.stop.noted())
        try:
            return _go_on(run)
        except KeyboardInterrupt:
            run.log("interrupted; --resume goes on from the newest checkpoint")
            raise
        except RuntimeError as error:
            if dist.world_size == 1 or not is_lost_rank(error):
                raise
            reason = str(error).strip().rpartition("\n")[2]
            raise TrainingError(
                f"rank {dist.rank} lost another rank ({reason}); the run goes on from its newest checkpoint: "
                "by itself under torchrun --max-restarts N, else by --resume"
            ) from error


def _go_on(run: Run) -> FitResult:
    """Every epoch that is left."""
    config = run.trainer.config
    for callback in run.callbacks:
        callback.on_start(run.files.path, config, step=run.step)
    while run.progress.epoch < config.epochs:
        record = run.finish_epoch()
        run.log(_line(record, run))
        for callback in run.callbacks:
            callback.on_epoch_end(record)
    best = run.best()
    assert best is not None
    assert best.acc1 is not None
    assert run.last is not None
    result = FitResult(
        run_dir=run.files.path,
        best_epoch=best.epoch,
        best_acc1=best.acc1,
        last=run.last,
        records=tuple(run.records),
        skipped=tuple(sorted(run.skipped)),
        seconds=sum(record.seconds for record in run.records),
    )
    for callback in run.callbacks:
        callback.on_end(result)
    return result


def is_lost_rank(error: RuntimeError) -> bool:
    """Whether the error is what a process group says when another of its processes has gone."""
    text = str(error)
    return any(sign in text for sign in ("gloo", "NCCL", "Connection closed by peer", "Connection reset"))


def _headline(run: Run, num_train: int, num_val: int, *, started_with: int) -> str:
    trainer, dist, progress = run.trainer, run.dist, run.progress
    config, network = trainer.config, trainer.network
    resumed = f"resumed in epoch {progress.epoch + 1} after step {progress.steps}: " if run.step else ""
    shares = f"{dist.world_size} × {config.batch_size} images each"
    if started_with != dist.world_size:
        shares = (
            f"{trainer.step_images} images each as with the {started_with} ranks at the start, now on "
            f"{dist.world_size}"
        )
    return (
        f"{resumed}{network.variant.name} on {config.data}: {num_train} training and {num_val} validation "
        f"images, {network.num_classes} classes; {config.epochs} epochs of {trainer.steps_per_epoch} steps, "
        f"{shares}; peak lr {trainer.schedule.peak_lr:.4g}; "
        f"{dist.device.type}, amp {trainer.step.amp or 'off'}"
    )


def _line(record: EpochRecord, run: Run) -> str:
    trainer = run.trainer
    tested = ""
    if record.acc1 is not None:
        tested = f"val loss {record.val_loss:.4f}  acc@1 {record.acc1:.2f}  acc@5 {record.acc5:.2f}  "
    line = (
        f"epoch {record.epoch}/{trainer.config.epochs}  train loss {record.train_loss:.4f}  {tested}"
        f"lr {record.lr:.4g}  {record.seconds:.1f} s  {record.images_per_second:.0f} images/s  "
        f"data {record.data_wait:.0%}"
    )
    if record.epoch < trainer.config.epochs:
        step_seconds = trainer.step_images / record.images_per_second
        left = trainer.seconds_left(
            run.progress, step_seconds, size=trainer.config.images_at(record.epoch - 1).size
        )
        line += f"  {duration(left)} left"
    return line + ("  best" if record is run.best() else "")
