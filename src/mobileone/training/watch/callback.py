"""What may be told of a run while it goes on: loggers, notebooks, services."""

from __future__ import annotations

from pathlib import Path

from mobileone.training.config.train_config import TrainConfig
from mobileone.training.watch.records import EpochRecord, FitResult, StepReport


class Callback:
    """Told what happens, on the main rank alone; override what you need.

    Training waits for it. An error in it ends the run, which can be resumed.

    >>> class Print(Callback):
    ...     def on_epoch_end(self, record: EpochRecord) -> None:
    ...         print(record.epoch, record.acc1)
    """

    def on_start(self, run_dir: Path, config: TrainConfig, *, step: int) -> None:
        """Before the first step.

        Args:
            run_dir: the run's folder.
            config: of the run.
            step: steps that are over: 0, or where a resumed run goes on. What was told of later ones by a
                process that was killed is to be forgotten.
        """

    def on_steps(self, report: StepReport) -> None:
        """After every few steps."""

    def on_epoch_end(self, record: EpochRecord) -> None:
        """After every epoch, when its files are written.

        A process that is killed at that very moment never calls it, and resuming does not make up for it.
        """

    def on_end(self, result: FitResult) -> None:
        """After the last epoch."""
