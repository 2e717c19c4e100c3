"""A training run between its trainer in memory and its folder on disk: what is saved when, and restored."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mobileone.checkpoint.rotation import Rotation
from mobileone.checkpoint.store import load_state, save_model
from mobileone.data.loader import BadImage
from mobileone.data.source import ImageSource
from mobileone.errors import MissingExtraError, MobileOneError, PreemptedError, TrainingError
from mobileone.evaluation.metrics import EvalResult
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.interval import Interval
from mobileone.training.run.progress import EpochProgress, EpochRecord
from mobileone.training.run.random_state import random_state, seed_everything, set_random_state
from mobileone.training.run.run_dir import RunDir
from mobileone.training.run.stop_signal import StopSignal
from mobileone.training.run.trainer import Trainer
from mobileone.training.watch.callback import Callback, StepReport
from mobileone.training.watch.curves import draw_curves

UNSAVED_S = 60.0
"""Training longer than this is saved before an evaluation, which may fail on its own, and may take long."""

RETRY_S = 60.0
"""Time until a checkpoint that could not be written is tried again."""


@dataclass(slots=True)
class Run:
    """A trainer with a folder to write to, and the epochs so far.

    Attributes:
        trainer: the network in training.
        files: the folder.
        dist: the ranks.
        val_set: validation images.
        show: whether to print lines and bars.
        callbacks: told what happens; none but on the main rank.
        stop: whether to end soon.
        progress: the epoch that is under way.
        records: the finished epochs.
        last: evaluation of the last one that had one.
        skipped: names of training images that could not be read.
    """

    trainer: Trainer
    files: RunDir
    dist: Distributed
    val_set: ImageSource
    show: bool
    callbacks: Sequence[Callback] = ()
    stop: StopSignal = field(default_factory=StopSignal)
    progress: EpochProgress = field(default_factory=lambda: EpochProgress(epoch=0))
    records: list[EpochRecord] = field(default_factory=list)
    last: EvalResult | None = None
    skipped: set[str] = field(default_factory=set)
    _saved_at: float = field(init=False, default_factory=time.monotonic)
    _saved_step: int = field(init=False, default=0)
    _tried_step: int = field(init=False, default=0)

    @property
    def rotation(self) -> Rotation:
        """The resume files."""
        return Rotation(self.files.checkpoints, keep=self.trainer.config.saving.keep_checkpoints)

    @property
    def step(self) -> int:
        """Steps of the whole run so far."""
        return self.progress.epoch * self.trainer.steps_per_epoch + self.progress.steps

    def finish_epoch(self) -> EpochRecord:
        """What is left of the epoch: train, evaluate, write.

        Raises:
            PreemptedError: if the process was told to stop; the run is saved.
            MobileOneError: if the epoch's files cannot be written.
        """
        progress, config = self.progress, self.trainer.config
        self.trainer.train_epoch(progress, show=self.show, pause=self.pause, tell=self._tell)
        self.note_bad()
        if not progress.losses:
            raise TrainingError(
                f"every step of epoch {progress.epoch + 1} was skipped, no loss or no gradient was finite; "
                "try a lower base_lr or a longer warmup_epochs"
            )
        evaluates = (progress.epoch + 1) % config.eval_every == 0 or progress.epoch + 1 == config.epochs
        if evaluates:
            if self.any_rank(time.monotonic() - self._saved_at > UNSAVED_S) and self._saved_step != self.step:
                self.try_to_save()
            self.last = self.trainer.evaluate(self.val_set, epoch=progress.epoch, show=self.show)
        record = self._record(self.last if evaluates else None)
        self.records.append(record)
        self.progress = EpochProgress(epoch=progress.epoch + 1)
        self.dist.from_main(self._write_results)
        self.save()
        return record

    def _tell(self, report: StepReport) -> None:
        for callback in self.callbacks:
            callback.on_steps(report)

    def pause(self) -> None:
        """Between two steps: save if it is time, leave if told to."""
        interval = Interval.parse(self.trainer.config.saving.checkpoint_every)
        elapsed = time.monotonic() - self._saved_at
        due = interval.is_due(seconds=elapsed, steps=self.step, before=self._tried_step)
        # The main rank's clock counts; a signal may have reached any of the ranks.
        flags = torch.tensor([bool(self.stop.received), due and self.dist.is_main], dtype=torch.int32)
        stops, saves = self.dist.reduce_sum(flags).tolist()
        if stops:
            if self._saved_step != self.step:
                self.save()
            self._leave()
        if saves:
            self.try_to_save()

    def _leave(self) -> None:
        names = [name for name in self.dist.gather(self.stop.received) if name]
        position = f"epoch {self.progress.epoch + 1}, step {self.progress.steps}"
        line = f"stopped by {names[0]} and saved ({position}); start it again with --resume to go on"
        self.log(line)
        raise PreemptedError(f"{self.files.path}: {line}")

    def any_rank(self, flag: bool) -> bool:
        """Whether it is so on any rank; the same answer on all of them."""
        return bool(self.dist.reduce_sum(torch.tensor([flag], dtype=torch.int32)))

    def _record(self, result: EvalResult | None) -> EpochRecord:
        progress, trainer = self.progress, self.trainer
        final_step = (progress.epoch + 1) * trainer.steps_per_epoch - 1
        return EpochRecord(
            epoch=progress.epoch + 1,
            step=final_step + 1,
            train_loss=progress.mean_loss,
            val_loss=None if result is None else result.loss,
            acc1=None if result is None else result.acc1,
            acc5=None if result is None else result.acc5,
            lr=trainer.schedule.lr(final_step),
            weight_decay=trainer.schedule.decay(final_step),
            seconds=progress.seconds,
            images_per_second=progress.steps * trainer.step_images / progress.seconds,
            data_wait=progress.waiting / progress.seconds,
        )

    def best(self) -> EpochRecord | None:
        """The first epoch of the largest top-1."""
        tested = [record for record in self.records if record.acc1 is not None]
        return max(tested, key=lambda record: record.acc1 or 0.0, default=None)

    def note_bad(self) -> None:
        """Log every unreadable image once."""
        images: list[BadImage] = [image for part in self.dist.gather(self.progress.bad) for image in part]
        self.progress.bad.clear()
        for image in images:
            if image.path not in self.skipped:
                self.skipped.add(image.path)
                self.log(f"skipped {image.path}: {image.reason}")

    def log(self, line: str) -> None:
        """To train.log, and to stderr if shown; from the main rank alone."""
        if self.dist.is_main:
            self.files.log(line, show=self.show)

    def _write_results(self) -> None:
        """The files of a finished epoch that are made for people."""
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

    def try_to_save(self) -> None:
        """Save, but go on without if the disk is full, say: there is time to mend that, and to try again."""
        try:
            self.save()
        except MobileOneError as error:
            self.log(f"no checkpoint at step {self.step}, the run goes on without: {error}")
            interval = Interval.parse(self.trainer.config.saving.checkpoint_every)
            self._saved_at = time.monotonic() - max((interval.seconds or 0.0) - RETRY_S, 0.0)
            self._tried_step = self.step

    def save(self) -> None:
        """Write a resume file.

        Raises:
            MobileOneError: if it cannot be written, on every rank; the files before it stay.
        """
        self.note_bad()
        ranks = self.dist.gather(random_state())
        state = {
            "progress": self.progress.state_dict(step_images=self.trainer.step_images),
            "records": [dataclasses.asdict(record) for record in self.records],
            "last": self.last and self.last.to_dict(),
            "skipped": sorted(self.skipped),
            "trainer": self.trainer.state_dict(),
            "random": ranks,
        }
        self.dist.from_main(lambda: self.rotation.save(state, epoch=self.progress.epoch, step=self.step))
        self._saved_at, self._saved_step, self._tried_step = time.monotonic(), self.step, self.step

    def restore(self) -> None:
        """Take over the newest resume file that is whole; none yet is the start.

        Raises:
            CheckpointError: if there are some and none can be used.
            TrainingError: if it is not this run's.
        """
        path = self.dist.from_main(self._newest)
        if path is None:
            return
        state = load_state(path)
        try:
            self.trainer.load_state_dict(state["trainer"])
            self.progress = EpochProgress.from_state_dict(
                state["progress"], step_images=self.trainer.step_images
            )
            self.records = [EpochRecord(**values) for values in state["records"]]
            last = state["last"]
            self.last = last and EvalResult(**last | {"skipped": tuple(last["skipped"])})
            self.trainer.last_test = self.last
            self.skipped = set(state["skipped"])
            self._restore_random(state["random"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = str(error).partition("\n")[0]
            raise TrainingError(f"cannot resume from {path}: not this run's state ({reason})") from error
        self._saved_step = self._tried_step = self.step

    def _newest(self) -> Path | None:
        self.files.sweep()
        self.rotation.sweep()
        found = self.rotation.newest()
        for line in found.damaged if found else ():
            self.log(f"{line}; falling back to the one before it")
        return found.path if found else None

    def _restore_random(self, states: Sequence[dict[str, Any]]) -> None:
        if len(states) == self.dist.world_size:
            set_random_state(states[self.dist.rank])
        else:  # other ranks than before have no state of their own to go on with
            seed_everything(self.trainer.config.seed + 1_000_003 * self.step + self.dist.rank)
