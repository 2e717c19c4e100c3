"""The losses of a run's steps, read every few; what was not finite is told, and counted."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mobileone.errors import TrainingError
from mobileone.training.method.step import StepResult
from mobileone.training.run.progress import RunProgress
from mobileone.training.run.trainer import Trainer

READ_EVERY = 10
"""Steps between readings of the loss on a GPU. Each reading waits for it; between them it is kept fed."""

MOST_OVERFLOWS = 30
"""Steps in a row in which fp16 gradients may overflow: each halves the scale, which starts at 2¹⁶."""

NAMED_IMAGES = 3  # of a bad batch, in the message that ends a run; train.log has them all


class Losses:
    """Results of steps that the device may not have computed yet.

    Args:
        trainer: whose steps they are.
        progress: moves on with every reading.
        log: takes a line of the log.
    """

    def __init__(self, trainer: Trainer, progress: RunProgress, *, log: Callable[[str], None]) -> None:
        self.trainer, self.progress, self.log = trainer, progress, log
        # On a CPU a reading waits for nothing.
        self.read_every = 1 if trainer.dist.device.type == "cpu" else READ_EVERY
        self._pending: list[tuple[Tensor, StepResult]] = []
        self._overflows = 0  # in a row

    def add(self, indices: Tensor, result: StepResult) -> None:
        """Note a step on the images of these indices."""
        self._pending.append((indices, result))

    def are_due(self, *, is_last: bool) -> bool:
        """Whether to read them now; `is_last` after the last step of an epoch."""
        return is_last or len(self._pending) >= self.read_every

    def read(self) -> None:
        """Wait for the device, and take over what there is. Every rank has the same, and stops at the same.

        Raises:
            TrainingError: if too many steps of the run had to be skipped, or fp16 gradients overflow in each.
        """
        now = self.progress.now
        results = [
            torch.stack(values).tolist()
            for values in zip(*(result for _, result in self._pending), strict=True)
        ]
        for (indices, _), loss, was_finite, overflowed in zip(self._pending, *results, strict=True):
            now.steps += 1
            self._overflows = self._overflows + 1 if overflowed else 0
            if self._overflows > MOST_OVERFLOWS:
                where = f"epoch {now.epoch + 1}, step {now.steps} of {self.trainer.steps_per_epoch}"
                raise TrainingError(
                    f"fp16 gradients overflowed in {self._overflows} steps in a row, up to {where}, though "
                    "the gradient scaler halved its scale each time: nothing was learnt in them; use "
                    "amp=bf16 or off, or a lower base_lr"
                )
            if was_finite:
                now.losses.append(loss)
            else:
                self._skip(loss, indices)
        self._pending.clear()

    def _skip(self, loss: float, indices: Tensor) -> None:
        """Report a step that was not taken, and stop when there are too many."""
        trainer, now = self.trainer, self.progress.now
        self.progress.num_skipped += 1
        shares = trainer.dist.gather(indices.tolist())
        names = [trainer.train_set.name(index) for share in shares for index in share]
        what = f"the loss became {loss}"
        if math.isfinite(loss):
            what = f"a gradient was not finite (the loss was {loss:.4g})"
        what += f" in epoch {now.epoch + 1}, step {now.steps} of {trainer.steps_per_epoch}"
        self.log(f"skipped a step: {what}; its images: {' '.join(names)}")
        number, most = self.progress.num_skipped, trainer.config.max_skipped_steps
        if number > most:
            raise TrainingError(
                f"{what}; such steps are skipped, but it is number {number}; max_skipped_steps is {most}; "
                f"its images: {' '.join(names[:NAMED_IMAGES])}"
                + (f" … (all {len(names)} are in train.log)" if len(names) > NAMED_IMAGES else "")
                + "; what was saved before is whole; try a lower base_lr or a longer warmup_epochs"
                + (", or amp=bf16 or off" if trainer.step.amp == "fp16" else "")
            )
