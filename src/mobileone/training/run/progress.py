"""How far a run has come, as values that a resume file can hold. Imports no torch."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobileone.data.loader import BadImage, Batch, BatchLoader


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


@dataclass(slots=True, kw_only=True)
class EpochProgress:
    """An epoch that is under way.

    Attributes:
        epoch: 0 for the first.
        steps: behind us, with those skipped.
        losses: of the steps taken, means over all ranks.
        seconds: wall time of training.
        waiting: seconds of it in which this rank waited for images.
        bad: images that this rank could not read, and that nobody has noted yet.
    """

    epoch: int
    steps: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    waiting: float = 0.0
    bad: list[BadImage] = field(default_factory=list)

    @property
    def mean_loss(self) -> float:
        """Of the steps taken so far; NaN before the first."""
        return math.fsum(self.losses) / len(self.losses) if self.losses else math.nan

    def state_dict(self, *, step_images: int) -> dict[str, Any]:
        """Plain values. The position is counted in images, whatever a step is."""
        return {
            "epoch": self.epoch,
            "images": self.steps * step_images,
            "losses": list(self.losses),
            "seconds": self.seconds,
            "waiting": self.waiting,
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any], *, step_images: int) -> EpochProgress:
        """The way back."""
        steps, rest = divmod(int(state["images"]), step_images)
        if rest:
            raise ValueError(f"{state['images']} images are no whole number of steps of {step_images}")
        return cls(
            epoch=int(state["epoch"]),
            steps=steps,
            losses=[float(loss) for loss in state["losses"]],
            seconds=float(state["seconds"]),
            waiting=float(state["waiting"]),
        )


class Waits:
    """A loader's batches, and how long they were waited for.

    Attributes:
        seconds: so far.
    """

    def __init__(self, loader: BatchLoader) -> None:
        self.loader = loader
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.loader)
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            self.seconds += time.perf_counter() - started
            if batch is None:
                return
            yield batch


def duration(seconds: float) -> str:
    """Wall time for people.

    >>> duration(59), duration(600), duration(5000), duration(300_000)
    ('59 s', '10 min', '1 h 23 min', '3 d 11 h')
    """
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60:02} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
