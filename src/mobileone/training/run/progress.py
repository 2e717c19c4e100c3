"""How far a run has come, as values that a resume file can hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from mobileone.data.loader import BadImage
from mobileone.evaluation.metrics import EvalResult
from mobileone.training.watch.records import EpochRecord, best_record


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
        """Plain values, for `from_state_dict`. The position is counted in images, whatever a step is."""
        return {
            "epoch": self.epoch,
            "images": self.steps * step_images,
            "losses": list(self.losses),
            "seconds": self.seconds,
            "waiting": self.waiting,
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any], *, step_images: int) -> EpochProgress:
        """The epoch that `state_dict` gave.

        Raises:
            ValueError: if it stood between two steps of that many images.
        """
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


@dataclass(slots=True, kw_only=True)
class RunProgress:
    """The epochs of a run so far, and the one that is under way.

    Attributes:
        steps_per_epoch: optimizer steps.
        step_images: images a step over all ranks.
        now: the epoch that is under way.
        records: the finished epochs.
        last: evaluation of the last one that had one.
        skipped: names of training images that could not be read.
        num_skipped: steps that were skipped because something was not finite.
        select: figure that the best epoch is chosen by.
    """

    steps_per_epoch: int
    step_images: int
    now: EpochProgress = field(default_factory=lambda: EpochProgress(epoch=0))
    records: list[EpochRecord] = field(default_factory=list)
    last: EvalResult | None = None
    skipped: set[str] = field(default_factory=set)
    num_skipped: int = 0
    select: str = "acc1"

    @property
    def step(self) -> int:
        """Steps of the whole run so far."""
        return self.now.epoch * self.steps_per_epoch + self.now.steps

    def best(self) -> EpochRecord | None:
        """The first epoch of the best figure; None before the first evaluation."""
        return best_record(self.records, self.select)

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for `load_state_dict`. The skipped steps are kept with the trainer's state."""
        return {
            "progress": self.now.state_dict(step_images=self.step_images),
            "records": [record.to_dict() for record in self.records],
            "last": self.last and self.last.to_dict(),
            "skipped": sorted(self.skipped),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state of `state_dict`; a step may have another number of images now."""
        self.now = EpochProgress.from_state_dict(state["progress"], step_images=self.step_images)
        self.records = [EpochRecord.from_dict(values) for values in state["records"]]
        self.last = state["last"] and EvalResult.from_dict(state["last"])
        self.skipped = set(state["skipped"])
