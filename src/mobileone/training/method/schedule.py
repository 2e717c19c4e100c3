"""Learning rate and weight decay as pure functions of the step. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

REFERENCE_BATCH = 256
"""Images a step, over all ranks, that `base_lr` is stated for."""


def cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine from `start` at progress 0 to `end` at progress 1; progress is clamped to [0, 1].

    >>> cosine(1.0, 0.0, 0.0), cosine(1.0, 0.0, 0.5), cosine(1.0, 0.0, 1.0)
    (1.0, 0.5, 0.0)
    """
    share = (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
    return start * share + end * (1 - share)


def scaled_lr(base_lr: float, *, step_images: int) -> float:
    """The peak learning rate, in proportion to the images a step: base_lr · step_images / 256.

    Args:
        base_lr: learning rate at 256 images a step.
        step_images: images a step over all ranks.

    >>> scaled_lr(0.1, step_images=8 * 256)
    0.8
    """
    return base_lr * step_images / REFERENCE_BATCH


def batch_norm_momentum(momentum: float, step: int) -> float:
    """Momentum of running statistics that start at nothing: a plain average until `momentum` is reached.

    With PyTorch's 0.1 from the start, a tenth of the arbitrary initial values is left after 22 steps, and a
    deep network's first evaluations are noise.

    Args:
        momentum: weight of the newest batch in the long run, in (0, 1].
        step: 0 for the first.

    >>> [batch_norm_momentum(0.1, step) for step in (0, 1, 9, 100)]
    [1.0, 0.5, 0.1, 0.1]
    """
    return max(momentum, 1 / (step + 1))


def cooled(start: float, end: float, progress: float) -> float:
    """A fall by the root of progress, from `start` at 0 to `end` at 1; progress is clamped to [0, 1].

    The form that did best in arXiv 2405.18392, figure 4.

    >>> cooled(1.0, 0.0, -1.0), cooled(1.0, 0.0, 0.25), cooled(1.0, 0.0, 1.0)
    (1.0, 0.5, 0.0)
    """
    share = 1 - math.sqrt(min(max(progress, 0.0), 1.0))
    return start * share + end * (1 - share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Linear warm-up, then a cosine, or the whole rate and a fall at the end; one value a step.

    Attributes:
        total_steps: optimizer steps in the whole run, at least 1.
        warmup_steps: steps in which the learning rate rises linearly to `peak_lr`; up to `total_steps`.
        peak_lr: largest learning rate.
        min_lr: floor at the end. One above `peak_lr` is ignored, for a floor must not raise the rate.
        weight_decay: decay at the start.
        weight_decay_end: decay at the end, falling alike (constant during the warm-up).
        cooldown_steps: steps at the end in which rate and decay fall; None is the cosine.

    >>> schedule = Schedule(
    ...     total_steps=4, warmup_steps=0, peak_lr=0.1, min_lr=0.0, weight_decay=1e-4, weight_decay_end=1e-5
    ... )
    >>> [round(schedule.lr(step), 4) for step in range(4)]
    [0.1, 0.0854, 0.05, 0.0146]
    """

    total_steps: int
    warmup_steps: int
    peak_lr: float
    min_lr: float
    weight_decay: float
    weight_decay_end: float
    cooldown_steps: int | None = None

    def _fallen(self, start: float, end: float, step: int) -> float:
        """From `start` to `end`, as the schedule falls."""
        if self.cooldown_steps is not None:
            return cooled(start, end, (step - self.total_steps + self.cooldown_steps) / self.cooldown_steps)
        return cosine(start, end, self._progress(step))

    def _progress(self, step: int) -> float:
        """Share of the cosine that lies behind, 0 during the warm-up."""
        return (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)

    def lr(self, step: int) -> float:
        """Learning rate of step 0, 1, …"""
        if step < self.warmup_steps:
            return self.peak_lr * (step + 1) / self.warmup_steps
        return self._fallen(self.peak_lr, min(self.min_lr, self.peak_lr), step)

    def decay(self, step: int) -> float:
        """Weight decay of step 0, 1, …"""
        return self._fallen(self.weight_decay, self.weight_decay_end, step)
