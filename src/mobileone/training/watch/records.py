"""What a run tells of its steps, its epochs, and at its end."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileone.evaluation.metrics import EvalResult


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


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One line of metrics.csv.

    Attributes:
        epoch: 1 for the first.
        step: steps of the whole run so far.
        train_loss: mean loss of the epoch's steps, over all ranks, with label smoothing.
        val_loss: cross-entropy of the averaged weights on the validation images; None if not evaluated.
        acc1: their top-1, percent; likewise.
        acc5: their top-5, percent; likewise.
        lr: learning rate of the last step.
        weight_decay: weight decay of the last step.
        seconds: wall time of the training part.
        images_per_second: training images over all ranks in a second of it.
        data_wait: share of it in which the main rank waited for images.
    """

    epoch: int
    step: int
    train_loss: float
    val_loss: float | None
    acc1: float | None
    acc5: float | None
    lr: float
    weight_decay: float
    seconds: float
    images_per_second: float
    data_wait: float


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


COLUMNS = {
    "epoch": "epoch",
    "step": "step",
    "train_loss": "train_loss",
    "val_loss": "val_loss",
    "acc1": "acc@1",
    "acc5": "acc@5",
    "lr": "lr",
    "weight_decay": "weight_decay",
    "seconds": "seconds",
    "images_per_second": "images/s",
    "data_wait": "data_wait",
}
"""Fields of `EpochRecord` and the names of their columns in metrics.csv."""

WALL_CLOCK = ("seconds", "images/s", "data_wait")
"""Columns that no two runs share."""


def metrics_table(records: Sequence[EpochRecord]) -> str:
    """metrics.csv: a header and one line an epoch."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS.values())
    for record in records:
        values = dataclasses.asdict(record)
        writer.writerow("" if values[name] is None else _short(values[name]) for name in COLUMNS)
    return text.getvalue()


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
