"""One optimizer step: pixels in, loss out, weights and their average moved on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mobileone.data.loader import Batch, normalize
from mobileone.evaluation.run import AmpDtype, autocast
from mobileone.input_spec import InputSpec
from mobileone.train.distributed import Distributed
from mobileone.train.ema import ModelEma
from mobileone.train.loss import smoothed_cross_entropy
from mobileone.train.optim import set_schedule_
from mobileone.train.undo import Undo


def resolve_amp(amp: Literal["auto", "off", "bf16", "fp16"], device: torch.device) -> AmpDtype | None:
    """The mixed precision meant on that device; None is none.

    >>> resolve_amp("auto", torch.device("cpu")) is None
    True
    """
    if amp == "off":
        return None
    if amp != "auto":
        return amp
    if device.type != "cuda":
        return None
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


class StepResult(NamedTuple):
    """What a step came to, the same on every rank; both are scalars on the device."""

    loss: Tensor
    """Mean loss over all ranks' images, before the step."""
    finite: Tensor
    """bool: whether loss and gradients were finite. If not, the step was not taken."""


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
        label_smoothing: in [0, 1).
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
    label_smoothing: float = 0.0
    _undo: Undo = field(init=False)

    def __post_init__(self) -> None:
        self._undo = Undo(self.network)

    def __call__(self, batch: Batch, *, lr: float, weight_decay: float) -> StepResult:
        """One step on the rank's batch.

        Args:
            batch: uint8 (N, C, H, W) and labels.
            lr: learning rate of this step.
            weight_decay: of this step, for the decayed parameters.
        """
        set_schedule_(self.optimizer, lr=lr, weight_decay=weight_decay)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        images = batch.images.to(self.device, non_blocking=True).contiguous(memory_format=layout)
        labels = batch.labels.to(self.device, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        self._undo.remember()
        with autocast(self.device, self.amp):
            logits = self.model(normalize(images, self.input_spec))
            loss = smoothed_cross_entropy(logits, labels, smoothing=self.label_smoothing)
        ranks = self.dist.world_size
        if self.step_images is not None and len(batch) * ranks != self.step_images:
            loss = loss * (len(batch) * ranks / self.step_images)  # DDP takes the plain mean over ranks
        mean = self.dist.reduce_sum(loss.detach()) / ranks
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        finite = mean.isfinite()
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)  # skips what is not finite by itself
            self.scaler.update()
        else:
            finite = self._step_if(finite)
        self._undo.where(~finite)
        if self.ema is not None:
            self.ema.update(self.network)
        return StepResult(mean, finite)

    def _step_if(self, finite: Tensor) -> Tensor:
        """Let the optimizer step if the loss is finite and the gradients are; whether it did.

        The gradients are the mean over all ranks, so every rank finds the same.
        """
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        bad = (~finite).to(torch.float32)
        # The gradient scaler's own check, one pass over all tensors, here with a scale of 1.
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, bad, torch.ones_like(bad))
        optimizer: Any = self.optimizer
        optimizer.grad_scale, optimizer.found_inf = None, bad
        try:
            self.optimizer.step()
        finally:
            del optimizer.grad_scale, optimizer.found_inf
        return bad == 0
