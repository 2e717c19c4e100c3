"""What may be told of a run while it goes on: loggers, notebooks, services."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.progress import EpochRecord

if TYPE_CHECKING:
    from mobileone.training.run.fit import FitResult


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """Where a run is, every few steps (each on a CPU, ten on a GPU).

    Attributes:
        step: steps of the whole run that are over.
        epoch: 1 for the first.
        loss: of the last step that was taken, mean over all ranks; NaN before the first.
        lr: learning rate of the last step.
        weight_decay: of the last step.
        images_per_second: over all ranks, of this epoch since it was started or taken up again.
        data_wait: share of that time in which this rank waited for images, in [0, 1].
        seconds_left: estimate for the rest of the run, evaluations included.
    """

    step: int
    epoch: int
    loss: float
    lr: float
    weight_decay: float
    images_per_second: float
    data_wait: float
    seconds_left: float


class Callback:
    """Told what happens, on the main rank alone; override what you need.

    Training waits for it. An error in it ends the run, which `--resume` goes on with.

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
