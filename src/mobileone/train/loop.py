"""A training run from its configuration to its folder of results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mobileone.checkpoint.store import load_state, save_model, save_state
from mobileone.data.decode import ImageSource
from mobileone.data.loader import BadImage
from mobileone.errors import ConfigError, MissingExtraError, TrainingError
from mobileone.evaluation.metrics import EvalResult
from mobileone.evaluation.run import open_data
from mobileone.train.config import TrainConfig
from mobileone.train.curves import draw_curves
from mobileone.train.distributed import Distributed, distributed
from mobileone.train.run_dir import EpochRecord, RunDir
from mobileone.train.trainer import Trainer


class Callback(Protocol):
    """Something to be told of every finished epoch, on the main rank, after its files are written."""

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Called once an epoch."""


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
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> FitResult:
    """Train as `config` says; under torchrun as one of its ranks, else alone.

    After every epoch the averaged weights are evaluated, and the folder has config.json, metrics.csv,
    train.log, curves.png, the models `last` and `best` (averaged weights; best by top-1) and last_state.pt.

    Args:
        config: the run; None, with `resume`, takes the stored one.
        run_dir: the folder to write, without a run in it. To resume, every rank must see it.
        resume: go on after the last finished epoch of the run in `run_dir`; the result is that of a run
            never interrupted, to the last bit on a CPU.
        callbacks: told of every epoch.
        progress: whether to print epochs and a bar on stderr; train.log is written anyway.

    Raises:
        ConfigError: if `run_dir` holds a run and `resume` is not set, or holds another configuration.
        TrainingError: if there is nothing to resume, the loss is no longer finite, or memory runs out.
        DataError: if the data cannot be used.
    """
    if config is None and not resume:
        raise ConfigError("a new run needs a config; pass one, or resume=True to go on with a stored run")
    config = config or RunDir(Path(run_dir)).read_config()
    files = RunDir(Path(run_dir), config.weights_suffix)
    with distributed(config.device) as dist:
        dist.from_main(lambda: files.check(config, resume=resume, world_size=dist.world_size))
        # A function of its own, so that the wrapped network is gone when the ranks part.
        return _train(config, files, dist, resume=resume, callbacks=callbacks, show=progress and dist.is_main)


def _train(
    config: TrainConfig,
    files: RunDir,
    dist: Distributed,
    *,
    resume: bool,
    callbacks: Sequence[Callback],
    show: bool,
) -> FitResult:
    train_set = open_data(config.data, split="train")
    val_set = open_data(config.data, split="val", classes=tuple(train_set.classes))
    trainer = Trainer(config, train_set, dist)
    run = _Run(trainer, files, dist, val_set, show=show)
    if resume:
        run.restore()
    else:
        dist.from_main(lambda: files.claim(config, world_size=dist.world_size))
    run.log(_headline(trainer, len(train_set), len(val_set), resumed_at=len(run.records)))
    try:
        return run.go_on(callbacks)
    except KeyboardInterrupt:
        run.log("interrupted; --resume goes on after the last finished epoch")
        raise


@dataclass(slots=True)
class _Run:
    """A trainer with a folder to write to, and the epochs so far."""

    trainer: Trainer
    files: RunDir
    dist: Distributed
    val_set: ImageSource
    show: bool
    records: list[EpochRecord] = field(default_factory=list)
    last: EvalResult | None = None
    skipped: set[str] = field(default_factory=set)

    def go_on(self, callbacks: Sequence[Callback]) -> FitResult:
        """Every epoch that is left."""
        epochs = self.trainer.config.epochs
        for epoch in range(len(self.records), epochs):
            record = self.train_epoch(epoch)
            self.records.append(record)
            self.dist.from_main(self.write)
            self.log(_line(record, epochs, is_best=record is self.best()))
            if self.dist.is_main:
                for callback in callbacks:
                    callback.on_epoch_end(record)
        best = self.best()
        assert best is not None
        assert best.acc1 is not None
        assert self.last is not None
        return FitResult(
            run_dir=self.files.path,
            best_epoch=best.epoch,
            best_acc1=best.acc1,
            last=self.last,
            records=tuple(self.records),
            skipped=tuple(sorted(self.skipped)),
            seconds=sum(record.seconds for record in self.records),
        )

    def train_epoch(self, epoch: int) -> EpochRecord:
        """Train, note unreadable images, evaluate."""
        config, schedule = self.trainer.config, self.trainer.schedule
        totals = self.trainer.train_epoch(epoch, show=self.show)
        self.note_bad([image for part in self.dist.gather(totals.bad) for image in part])
        result = None
        if (epoch + 1) % config.eval_every == 0 or epoch + 1 == config.epochs:
            result = self.last = self.trainer.evaluate(self.val_set, epoch=epoch, show=self.show)
        final_step = (epoch + 1) * self.trainer.steps_per_epoch - 1
        return EpochRecord(
            epoch=epoch + 1,
            train_loss=totals.loss,
            val_loss=None if result is None else result.loss,
            acc1=None if result is None else result.acc1,
            acc5=None if result is None else result.acc5,
            lr=schedule.lr(final_step),
            weight_decay=schedule.decay(final_step),
            seconds=totals.seconds,
            images_per_second=totals.num_images / totals.seconds,
        )

    def best(self) -> EpochRecord | None:
        """The first epoch of the largest top-1."""
        tested = [record for record in self.records if record.acc1 is not None]
        return max(tested, key=lambda record: record.acc1 or 0.0, default=None)

    def note_bad(self, images: Sequence[BadImage]) -> None:
        """Log every unreadable image once."""
        for image in images:
            if image.path not in self.skipped:
                self.skipped.add(image.path)
                self.log(f"skipped {image.path}: {image.reason}")

    def log(self, line: str) -> None:
        """To train.log, and to stderr if shown; from the main rank alone."""
        if self.dist.is_main:
            self.files.log(line, show=self.show)

    def write(self) -> None:
        """The files of a finished epoch. The state comes last: it is what resuming starts from."""
        record = self.records[-1]
        model = self.trainer.averaged
        extra = {"epoch": record.epoch, "acc1": record.acc1, "acc5": record.acc5}
        if record is self.best():
            save_model(model, self.files.weights("best"), extra=extra)
        save_model(model, self.files.weights("last"), extra=extra)
        self.files.write_metrics(self.records)
        try:
            draw_curves(self.records, self.files.curves)
        except MissingExtraError as error:  # the picture is not worth a run
            if record.epoch == 1:
                self.log(str(error))
        state = {
            "records": [dataclasses.asdict(record) for record in self.records],
            "last": self.last and self.last.to_dict(),
            "skipped": sorted(self.skipped),
            "trainer": self.trainer.state_dict(),
        }
        save_state(state, self.files.state)

    def restore(self) -> None:
        """Take over the state of the last finished epoch; none yet is the start."""
        if not self.files.state.exists():
            return
        state = load_state(self.files.state)
        try:
            self.trainer.load_state_dict(state["trainer"])
            self.records = [EpochRecord(**values) for values in state["records"]]
            last = state["last"]
            self.last = last and EvalResult(**last | {"skipped": tuple(last["skipped"])})
            self.skipped = set(state["skipped"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise TrainingError(f"cannot resume from {self.files.state}: not its state ({reason})") from error


def _headline(trainer: Trainer, num_train: int, num_val: int, *, resumed_at: int) -> str:
    config, network, dist = trainer.config, trainer.network, trainer.dist
    start = f"resumed after epoch {resumed_at}: " if resumed_at else ""
    return (
        f"{start}{network.variant.name} on {config.data}: {num_train} training and {num_val} validation "
        f"images, {network.num_classes} classes; {config.epochs} epochs of {trainer.steps_per_epoch} steps, "
        f"{dist.world_size} × {config.batch_size} images each; peak lr {trainer.schedule.peak_lr:.4g}; "
        f"{dist.device.type}, amp {trainer.step.amp or 'off'}"
    )


def _line(record: EpochRecord, epochs: int, *, is_best: bool) -> str:
    tested = ""
    if record.acc1 is not None:
        tested = f"val loss {record.val_loss:.4f}  acc@1 {record.acc1:.2f}  acc@5 {record.acc5:.2f}  "
    return (
        f"epoch {record.epoch}/{epochs}  train loss {record.train_loss:.4f}  {tested}lr {record.lr:.4g}  "
        f"{record.seconds:.1f} s  {record.images_per_second:.0f} images/s" + ("  best" if is_best else "")
    )
