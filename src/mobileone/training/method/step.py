"""One optimizer step: pixels in, loss out, weights and their average moved on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from mobileone.data.loader import Batch
from mobileone.data.pixels import normalize
from mobileone.input_spec import InputSpec
from mobileone.precision import AmpDtype, autocast
from mobileone.ranks.distributed import Distributed
from mobileone.training.method.ema import ModelEma
from mobileone.training.method.lessons import Lessons
from mobileone.training.method.loss import TrainLoss
from mobileone.training.method.mix import Blend, Mixer, neighbours
from mobileone.training.method.optim import set_schedule_
from mobileone.training.method.rollback import Rollback
from mobileone.training.method.schedule import batch_norm_momentum
from mobileone.training.method.taught import Taught, features_of
from mobileone.training.method.teacher import Teacher


class StepResult(NamedTuple):
    """What a step came to, the same on every rank; both are scalars on the device."""

    loss: Tensor
    """Mean loss over all ranks' images, before the step."""
    finite: Tensor
    """bool: whether loss and gradients were finite. If not, the step was not taken."""
    overflowed: Tensor
    """bool: whether it was not taken because fp16 gradients overflowed at the scaler's scale, which it lowers
    in answer; then the loss is finite, and `finite` says so."""


class _Targets(NamedTuple):
    """What the images of a step, or of a part of one, are to be seen as."""

    labels: Tensor
    partners: Tensor | None
    blend: Blend | None
    taught: Taught | None
    """By a teacher that has looked at the images before, mixed as they are."""

    def of(self, part: slice) -> _Targets:
        """The targets of the images of `part` alone."""
        partners = None if self.partners is None else self.partners[part]
        taught = None if self.taught is None else self.taught.of(part)
        return _Targets(self.labels[part], partners, self.blend, taught)


@dataclass(slots=True, kw_only=True)
class TrainStep:
    """What a step needs; calling it does one. Nothing in it waits for a GPU.

    A batch whose loss or gradient is not finite leaves weights, momentum and running statistics as they were.

    Attributes:
        model: the network to train, perhaps wrapped for several ranks, in training mode.
        network: the same without the wrapper, whose weights are averaged.
        input_spec: gives mean and std.
        optimizer: of `create_optimizer`.
        scaler: gradient scaler, disabled unless the step is in fp16.
        ema: the averaged network, or None.
        device: where the model is.
        dist: the ranks.
        step_images: images a step over all ranks; None if every rank has as many.
        amp: mixed precision, or None.
        channels_last: whether activations lie as (N, H, W, C).
        loss: of logits and labels.
        mixer: mixes a batch's images, or None.
        teacher: what the loss compares with beside the labels, and looks at what the student sees; or None.
        lessons: of a teacher that has looked at the training images before, in its stead; or None.
        clip_norm: largest norm of all gradients together; 0 is no limit.
        accumulate: parts that the rank's images are taken in, one after the other. The step is that of the
            whole batch but for BatchNorm, whose statistics are a part's.
        fresh_norms: BatchNorms whose running statistics start at nothing, with their momentum.
    """

    model: nn.Module
    network: nn.Module
    input_spec: InputSpec
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: ModelEma | None
    device: torch.device
    dist: Distributed = field(default_factory=Distributed)
    step_images: int | None = None
    amp: AmpDtype | None = None
    channels_last: bool = True
    loss: TrainLoss = field(default_factory=TrainLoss)
    mixer: Mixer | None = None
    teacher: Teacher | None = None
    lessons: Lessons | None = None
    clip_norm: float = 0.0
    accumulate: int = 1
    fresh_norms: Sequence[tuple[_BatchNorm, float]] = ()
    _rollback: Rollback = field(init=False)

    def __post_init__(self) -> None:
        self._rollback = Rollback(self.network.buffers())

    def __call__(self, batch: Batch, *, lr: float, weight_decay: float, step: int = 0) -> StepResult:
        """One step on the rank's batch.

        Args:
            batch: uint8 (N, C, H, W) and labels.
            lr: learning rate of this step.
            weight_decay: of this step, for the decayed parameters.
            step: of the whole run, 0 for the first; decides how images are mixed.
        """
        set_schedule_(self.optimizer, lr=lr, weight_decay=weight_decay)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        images = batch.images.to(self.device, non_blocking=True).contiguous(memory_format=layout)
        labels = batch.labels.to(self.device, non_blocking=True)
        blend = None
        if self.mixer is not None:
            images, blend = self.mixer(images, step=step)
        targets = _Targets(
            labels, neighbours(labels) if blend else None, blend, self._taught(batch.indices, blend)
        )
        self.optimizer.zero_grad(set_to_none=True)
        self._rollback.remember()
        mean = self.dist.reduce_sum(self._gradients(images, targets, step)) / self.dist.world_size
        finite = mean.isfinite()
        if self.scaler.is_enabled():
            taken = self._scaled_step()
            overflowed = finite & ~taken
        else:
            finite = taken = self._step_if(finite)
            overflowed = torch.zeros_like(finite)
        self._rollback.where(~(finite & taken))
        if self.ema is not None:
            self.ema.update(self.network)
        return StepResult(mean, finite, overflowed)

    def _gradients(self, images: Tensor, targets: _Targets, step: int) -> Tensor:
        """Forward and backward, part by part; the rank's loss, a scalar."""
        ranks, count = self.dist.world_size, len(images)
        step_images = self.step_images or count * ranks
        # As many on every rank, for they wait for one another: ranks may differ by one image.
        num_parts = min(self.accumulate, step_images // ranks)
        indices = [part.tolist() for part in torch.arange(count).tensor_split(num_parts)]
        total = torch.zeros((), device=self.device)
        for number, chosen in enumerate(indices):
            part = slice(chosen[0], chosen[-1] + 1)
            settled = True
            for norm, momentum in self.fresh_norms:
                norm.momentum = batch_norm_momentum(momentum, step * num_parts + number)
                settled = settled and norm.momentum == momentum
            with self._exchange(last=number + 1 == num_parts), self._compiled(settled=settled):
                loss = self._forward(images[part], targets.of(part))
                # DDP takes the plain mean over ranks.
                share = len(chosen) * ranks / step_images
                loss = loss if share == 1 else loss * share
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _taught(self, indices: Tensor, blend: Blend | None) -> Taught | None:
        """What a teacher said before of these images, mixed as they are."""
        if self.lessons is None:
            return None
        taught = self.lessons(indices, device=self.device)
        if blend is None:
            return taught
        loss = self.loss
        return taught.mixed(share=blend.share, temperature=loss.temperature, task=loss.task)

    def _forward(self, images: Tensor, targets: _Targets) -> Tensor:
        taught = targets.taught if self.teacher is None else self.teacher(images)
        pixels, features = normalize(images, self.input_spec), None
        with autocast(self.device, self.amp):
            if taught is None or taught.features is None:
                logits = self.model(pixels)
            else:
                with features_of(self.network) as heard:
                    logits = self.model(pixels)
                features = heard[0]
            return self.loss(
                logits,
                targets.labels,
                blend=targets.blend,
                partners=targets.partners,
                taught=taught,
                features=features,
            )

    def _exchange(self, *, last: bool) -> AbstractContextManager[object]:
        """Gradients go round the ranks once, with the last part."""
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        waiting: AbstractContextManager[object] = self.model.no_sync()
        return waiting

    def _compiled(self, *, settled: bool) -> AbstractContextManager[object]:
        """Run what is compiled only once the momentums stay: each new one would be compiled for anew."""
        if settled or self.network._compiled_call_impl is None:
            return nullcontext()
        eager: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
        return eager

    def _clip(self) -> None:
        """Shorten the gradients to the largest norm allowed."""
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)

    def _scaled_step(self) -> Tensor:
        """Let the gradient scaler step where no gradient overflowed; whether it did."""
        self.scaler.unscale_(self.optimizer)
        found = self.scaler._found_inf_per_device(self.optimizer)
        taken = torch.stack([value.to(self.device) for value in found.values()]).sum() == 0
        if self.clip_norm:
            self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return taken

    def _step_if(self, finite: Tensor) -> Tensor:
        """Let the optimizer step if the loss is finite and the gradients are; whether it did.

        The gradients are the mean over all ranks, so every rank finds the same.
        """
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        bad = (~finite).to(torch.float32)
        # The gradient scaler's own check, one pass over all tensors, here with a scale of 1.
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, bad, torch.ones_like(bad))
        if self.clip_norm:
            self._clip()
        optimizer: Any = self.optimizer
        optimizer.grad_scale, optimizer.found_inf = None, bad
        try:
            self.optimizer.step()
        finally:
            del optimizer.grad_scale, optimizer.found_inf
        return bad == 0
