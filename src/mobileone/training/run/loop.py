"""The loop of a training run: epochs, their steps, evaluation, and what is saved when."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from mobileone.checkpoint.store import save_model
from mobileone.data.loader import BadImage
from mobileone.data.source import ImageSource
from mobileone.errors import MissingExtraError, PreemptedError, TrainingError
from mobileone.progress_bar import progress_bar
from mobileone.report.figure import try_to_draw
from mobileone.training.method.initial import origin_of
from mobileone.training.run.linear_probe import LinearProbe
from mobileone.training.run.log_lines import bar_line, epoch_line, seconds_to_go
from mobileone.training.run.losses import Losses
from mobileone.training.run.prefetch import Waits
from mobileone.training.run.progress import EpochProgress, RunProgress
from mobileone.training.run.random_state import seed_everything
from mobileone.training.run.run_dir import RunDir
from mobileone.training.run.savepoints import Savepoints
from mobileone.training.run.stop_signal import StopSignal
from mobileone.training.run.teaching import Teaching
from mobileone.training.run.trainer import Trainer
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.curves import draw_curves
from mobileone.training.watch.memory import is_out_of_memory, what_would_have_fitted
from mobileone.training.watch.records import EpochRecord, FitResult, StepReport

UNSAVED_S = 60.0
"""Training longer than this is saved before an evaluation, which may fail on its own, and may take long."""


class Rates(NamedTuple):
    """Of an epoch's last step. A probe has no learning rate, which is 0, and its penalty as weight decay."""

    lr: float
    weight_decay: float


class TrainLoop:
    """Goes through a run from where its progress stands to the end.

    Args:
        trainer: the network in training.
        progress: where to start; moves with the run.
        savepoints: its resume files.
        files: its folder.
        val_set: validation images.
        log: takes a line of the log.
        show: whether to draw bars on stderr.
        callbacks: told what happens; none but on the main rank.

    Attributes:
        stop: whether to end soon.
    """

    def __init__(
        self,
        trainer: Trainer,
        progress: RunProgress,
        savepoints: Savepoints,
        files: RunDir,
        val_set: ImageSource,
        *,
        log: Callable[[str], None],
        show: bool,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.trainer, self.progress, self.savepoints = trainer, progress, savepoints
        self.files, self.val_set, self.log, self.show = files, val_set, log, show
        self.callbacks, self.stop = callbacks, StopSignal()
        self.config, self.dist = trainer.config, trainer.dist
        self.origin = origin_of(self.config) if self.dist.is_main else {}

    def run(self) -> FitResult:
        """Every epoch that is left: train, evaluate, write, save.

        Raises:
            PreemptedError: if the process was told to stop; the run is saved.
            TrainingError: if too many steps were skipped, a validation loss is not finite, or memory ran out.
            MobileOneError: if the files of an epoch cannot be written.
        """
        for callback in self.callbacks:
            callback.on_start(self.files.path, self.config, step=self.progress.step)
        if self.config.distill.looks_once and self.progress.now.epoch < self.config.epochs:
            self._hear_teacher()
        if self.config.probe.comes_first and not self.progress.step:
            self._start_head()
        while self.progress.now.epoch < self.config.epochs and not self._has_waited_enough():
            epoch = self.progress.now.epoch
            rates = self._fit_head() if self.config.probe.is_all else self._train()
            if self.config.is_tested(epoch):
                self._save_before_evaluation()
                self.progress.last = self.trainer.evaluate(self.val_set, epoch=epoch, show=self.show)
            record = self._finish_epoch(rates)
            self.log(epoch_line(record, self.trainer, self.progress))
            for callback in self.callbacks:
                callback.on_epoch_end(record)
        if self._has_waited_enough() and self.progress.now.epoch < self.config.epochs:
            self.log(f"stopped after {self.config.patience} epochs without a better {self.config.select}")
        result = self._result()
        for callback in self.callbacks:
            callback.on_end(result)
        return result

    # --- the steps of an epoch

    def _train(self) -> Rates:
        """The steps that are left of the epoch; the rates of its last one."""
        now = self.progress.now
        if not now.steps:
            seed_everything(self.config.seed + 1_000_003 * now.epoch + self.dist.rank)
        ran_out = False
        try:
            if now.steps < self.trainer.steps_per_epoch:
                self._steps()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            error.__traceback__ = None  # its frames hold the failed step's tensors
            ran_out = True
        if ran_out:
            size = self.config.images_at(now.epoch).size
            raise TrainingError(
                what_would_have_fitted(self.trainer.step, size=size, batch_size=self.config.batch_size)
            )
        self._note_bad_images()
        if not now.losses:
            raise TrainingError(
                f"every step of epoch {now.epoch + 1} was skipped, no loss or no gradient was finite; "
                "try a lower base_lr or a longer warmup_epochs"
            )
        last = (now.epoch + 1) * self.trainer.steps_per_epoch - 1
        return Rates(self.trainer.schedule.lr(last), self.trainer.schedule.decay(last))

    def _has_waited_enough(self) -> bool:
        """Whether the best epoch lies so far back that the run ends."""
        best, patience, done = self.progress.best(), self.config.patience, self.progress.now.epoch
        # Epochs that are not evaluated could not have been better.
        return bool(patience and best and done - best.epoch >= patience and self.config.is_tested(done - 1))

    def _start_head(self) -> None:
        """A fitted head, for a run by steps to start from."""
        first = EpochProgress(epoch=0)
        probe = LinearProbe(self.trainer, log=self.log, show=self.show, check_stop=self._leave_alone)
        probe(first)
        self.progress.now.bad += first.bad
        self._note_bad_images()
        self.log(f"the head was fitted first, in {first.seconds:.1f} s")

    def _hear_teacher(self) -> None:
        """What a teacher that looks once says of the training images."""
        teacher = self.trainer.teacher
        assert teacher is not None
        teaching = Teaching(
            self.trainer,
            self.progress,
            self.files,
            log=self.log,
            show=self.show,
            check_stop=self._leave_alone,
        )
        teaching(teacher)
        self._note_bad_images()

    def _fit_head(self) -> Rates:
        """The whole run of a probe. One that was stopped begins anew."""
        self.progress.now = EpochProgress(epoch=0)
        seed_everything(self.config.seed + self.dist.rank)
        probe = LinearProbe(self.trainer, log=self.log, show=self.show, check_stop=self._leave_alone)
        fitted = probe(self.progress.now)
        self._note_bad_images()
        return Rates(0.0, fitted.strength)

    def _steps(self) -> None:
        trainer, now, total = self.trainer, self.progress.now, self.trainer.steps_per_epoch
        losses = Losses(trainer, self.progress, log=self.log)
        waits = Waits(trainer.batches(now.epoch, start=now.steps), self.dist.device)
        first, seconds, waiting = now.steps, now.seconds, now.waiting
        title = f"epoch {now.epoch + 1}/{self.config.epochs}"
        started = time.perf_counter()
        with progress_bar(
            waits, title=title, unit="step", hidden=not self.show, initial=first, total=total
        ) as bar:
            for index, batch in enumerate(bar, start=first):
                losses.add(batch.indices, trainer.take(batch, step=now.epoch * total + index))
                now.bad += batch.bad
                if not losses.are_due(is_last=index + 1 == total):
                    continue
                losses.read()
                waits.settle()
                elapsed = time.perf_counter() - started
                now.seconds, now.waiting = seconds + elapsed, waiting + waits.seconds
                report = self._report(elapsed / (index + 1 - first), waits.seconds / elapsed)
                if self.show:
                    line = bar_line(report, self.progress.last, self.dist.device)
                    bar.set_postfix_str(line, refresh=False)
                for callback in self.callbacks:
                    callback.on_steps(report)
                self._pause()

    def _report(self, step_seconds: float, data_wait: float) -> StepReport:
        trainer, now, step = self.trainer, self.progress.now, self.progress.step
        size = self.config.images_at(now.epoch).size
        return StepReport(
            step=step,
            epoch=now.epoch + 1,
            loss=now.losses[-1] if now.losses else float("nan"),
            lr=trainer.schedule.lr(step - 1),
            weight_decay=trainer.schedule.decay(step - 1),
            images_per_second=trainer.step_images / step_seconds,
            data_wait=data_wait,
            seconds_left=seconds_to_go(self.config, self.progress, step_seconds=step_seconds, size=size),
        )

    def _pause(self) -> None:
        """Between two steps, the same ones on all ranks: save if it is time, leave if told to."""
        # The main rank's clock counts; a signal may have reached any of the ranks.
        due = self.savepoints.is_due() and self.dist.is_main
        flags = torch.tensor([bool(self.stop.received), due], dtype=torch.int32)
        stops, saves = self.dist.reduce_sum(flags).tolist()
        if stops:
            if not self.savepoints.is_saved:
                self._save()
            self._leave()
        if saves:
            self._try_to_save()

    def _leave_alone(self) -> None:
        """Leave if told to, where no other rank would be left waiting."""
        if self.stop.received and self.dist.world_size == 1:
            self._leave()

    def _leave(self) -> None:
        names = [name for name in self.dist.gather(self.stop.received) if name]
        position = f"epoch {self.progress.now.epoch + 1}, step {self.progress.now.steps}"
        line = f"stopped by {names[0]} and saved ({position}); start it again with resume=True to go on"
        self.log(line)
        raise PreemptedError(f"{self.files.path}: {line}")

    # --- the end of an epoch

    def _save_before_evaluation(self) -> None:
        is_long = torch.tensor([self.savepoints.age_s > UNSAVED_S], dtype=torch.int32)
        if self.dist.reduce_sum(is_long) and not self.savepoints.is_saved:
            self._try_to_save()

    def _finish_epoch(self, rates: Rates) -> EpochRecord:
        """Note the epoch, write its files, and save."""
        record = self._record(rates)
        self.progress.records.append(record)
        self.progress.now = EpochProgress(epoch=record.epoch)
        self.dist.from_main(lambda: self._write_results(record))
        self._save()
        return record

    def _record(self, rates: Rates) -> EpochRecord:
        now, trainer = self.progress.now, self.trainer
        tested = self.progress.last if self.config.is_tested(now.epoch) else None
        return EpochRecord(
            epoch=now.epoch + 1,
            step=(now.epoch + 1) * trainer.steps_per_epoch,
            train_loss=now.mean_loss,
            val_loss=None if tested is None else tested.loss,
            metrics={} if tested is None else dict(tested.metrics),
            lr=rates.lr,
            weight_decay=rates.weight_decay,
            seconds=now.seconds,
            images_per_second=now.steps * trainer.step_images / now.seconds,
            data_wait=now.waiting / now.seconds,
        )

    def _write_results(self, record: EpochRecord) -> None:
        """The files of a finished epoch that are made for people."""
        model = self.trainer.averaged
        figures = {name: value for name, value in record.metrics.items() if "/" not in name}
        extra: dict[str, Any] = {"epoch": record.epoch, **figures, **self.origin}
        if figures and self.progress.last is not None:  # without which they say little
            precision = self.trainer.step.amp or "float32"
            extra |= {"num_images": self.progress.last.num_images, "precision": precision}
        if record is self.progress.best():
            save_model(model, self.files.weights("best"), extra=extra)
        save_model(model, self.files.weights("last"), extra=extra)
        self.files.write_metrics(self.progress.records, task=self.config.task)
        try:  # the picture is not worth a run
            line = try_to_draw(
                lambda: draw_curves(self.progress.records, self.files.curves, select=self.config.select),
                self.files.curves.name,
            )
        except MissingExtraError as error:
            line = str(error)
        if line is not None and record.epoch == 1:
            self.log(line)

    def _save(self) -> None:
        self._note_bad_images()
        self.savepoints.save()

    def _try_to_save(self) -> None:
        self._note_bad_images()
        self.savepoints.try_to_save()

    def _note_bad_images(self) -> None:
        """Log every unreadable image once."""
        now, skipped = self.progress.now, self.progress.skipped
        images: list[BadImage] = [image for part in self.dist.gather(now.bad) for image in part]
        now.bad.clear()
        for image in images:
            if image.path not in skipped:
                skipped.add(image.path)
                self.log(f"skipped {image.path}: {image.reason}")

    def _result(self) -> FitResult:
        best, last = self.progress.best(), self.progress.last
        assert best is not None
        value = best.val_loss if self.config.select == "loss" else best.figure(self.config.select)
        assert value is not None
        assert last is not None
        return FitResult(
            run_dir=self.files.path,
            select=self.config.select,
            best_epoch=best.epoch,
            best_value=value,
            last=last,
            records=tuple(self.progress.records),
            skipped=tuple(sorted(self.progress.skipped)),
            seconds=sum(record.seconds for record in self.progress.records),
        )
