"""What a run tells of its steps, its epochs, and at its end."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileone.evaluation.metric_names import CLASS_METRICS, METRICS
from mobileone.evaluation.metrics import EvalResult
from mobileone.outside_text import printable
from mobileone.task import Task


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
        val_loss: of the averaged weights on the validation images, as of `EvalResult`; None if not evaluated.
        metrics: their figures, percent, by name, likewise; empty if not evaluated.
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
    metrics: Mapping[str, float]
    lr: float
    weight_decay: float
    seconds: float
    images_per_second: float
    data_wait: float

    @property
    def acc1(self) -> float | None:
        """Top-1, percent; None if not evaluated, or with several labels an image."""
        return self.metrics.get("acc1")

    def figure(self, select: str) -> float | None:
        """What the best epoch is chosen by, the more the better; None if not evaluated.

        Args:
            select: a name in `metrics`, or `loss`, of which less is better.
        """
        if select == "loss":
            return None if self.val_loss is None else -self.val_loss
        return self.metrics.get(select)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and resume files."""
        return dataclasses.asdict(self) | {"metrics": dict(self.metrics)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpochRecord:
        """The way back, also from before there were other figures than `acc1` and `acc5`.

        Raises:
            KeyError, TypeError: if the values are no record's.
        """
        rest = dict(values)
        older = {name: rest.pop(name) for name in ("acc1", "acc5") if name in rest}
        known = {name: value for name, value in older.items() if value is not None}
        return cls(**{"metrics": known} | rest)


def best_record(records: Sequence[EpochRecord], select: str) -> EpochRecord | None:
    """The first epoch of the best figure; None before the first evaluation."""
    best: EpochRecord | None = None
    largest = -math.inf
    for record in records:
        figure = record.figure(select)
        if figure is not None and (best is None or figure > largest):
            best, largest = record, figure
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What a run came to.

    Attributes:
        run_dir: its folder.
        select: the figure that the best epoch was chosen by.
        best_epoch: first epoch of the best such figure; 1 is the first.
        best_value: that figure, percent, or nats of `loss`.
        last: evaluation after the last epoch.
        records: every epoch.
        skipped: names of training images that could not be read.
        seconds: wall time of training, without evaluation, over all epochs.
    """

    run_dir: Path
    select: str
    best_epoch: int
    best_value: float
    last: EvalResult
    records: tuple[EpochRecord, ...]
    skipped: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "run_dir": str(self.run_dir),
            "select": self.select,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "last": self.last.to_dict(),
            "records": [record.to_dict() for record in self.records],
            "skipped": list(self.skipped),
            "seconds": self.seconds,
        }


COLUMNS = {
    "epoch": "epoch",
    "step": "step",
    "train_loss": "train_loss",
    "val_loss": "val_loss",
    "metrics": "",
    "lr": "lr",
    "weight_decay": "weight_decay",
    "seconds": "seconds",
    "images_per_second": "images/s",
    "data_wait": "data_wait",
}
"""Fields of `EpochRecord` and the names of their columns in metrics.csv; figures have their own."""

MAX_CLASS_COLUMNS = 100
"""Classes up to which metrics.csv has columns of single classes, at its end."""


def column_of(figure: str) -> str:
    """The column of a figure in metrics.csv.

    >>> column_of("acc1"), column_of("macro_f1"), column_of("recall/cat")
    ('acc@1', 'macro_f1', 'recall/cat')
    """
    return {"acc1": "acc@1", "acc5": "acc@5"}.get(figure, printable(figure))


def named_values(record: EpochRecord) -> dict[str, float]:
    """The line of metrics.csv by the names of its columns, without those that are empty, or too many."""
    single = [name for name in record.metrics if "/" in name]
    kinds = {name.partition("/")[0] for name in single}
    left_out = single if len(single) > MAX_CLASS_COLUMNS * len(kinds) else ()
    values: dict[str, float | None] = {
        name: getattr(record, field) for field, name in COLUMNS.items() if field != "metrics"
    }
    values |= {column_of(name): value for name, value in record.metrics.items() if name not in left_out}
    return {name: float(value) for name, value in values.items() if value is not None}


WALL_CLOCK = ("seconds", "images/s", "data_wait")
"""Columns that no two runs share."""


def metrics_table(records: Sequence[EpochRecord], *, task: Task = "singlelabel") -> str:
    """metrics.csv: a header and one line an epoch; columns of single classes at the end, if they are few."""
    overall = METRICS[task]
    kinds = CLASS_METRICS[task]
    single = list(dict.fromkeys(name for record in records for name in record.metrics if "/" in name))
    if len(single) > MAX_CLASS_COLUMNS * len(kinds):
        single = []
    header = [
        column
        for field, name in COLUMNS.items()
        for column in (map(column_of, overall) if field == "metrics" else [name])
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, *map(column_of, single)])
    for record in records:
        values = [
            value
            for field in COLUMNS
            for value in (
                [record.metrics.get(name) for name in overall]
                if field == "metrics"
                else [getattr(record, field)]
            )
        ]
        values += [record.metrics.get(name) for name in single]
        writer.writerow("" if value is None else _short(value) for value in values)
    return text.getvalue()


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
