"""One optimizer step: pixels in, loss out, weights and their average moved on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mobileone.data.loader import Batch, normalize
from mobileone.evaluation.run import AmpDtype, autocast
from mobileone.input_spec import InputSpec
from mobileone.train.ema import ModelEma
from mobileone.train.loss import smoothed_cross_entropy
from mobileone.train.optim import set_schedule_


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


@dataclass(slots=True, kw_only=True)
class TrainStep:
    """What a step needs; calling it does one. Nothing in it waits for the device.

    Attributes:
        model: the network to train, perhaps wrapped for several ranks, in training mode.
        network: the same without the wrapper, whose weights are averaged.
        input_spec: gives mean and std.
        optimizer: of `create_optimizer`.
        scaler: gradient scaler, disabled unless the step is in fp16.
        ema: the averaged network, or None.
        device: where the model is.
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
    amp: AmpDtype | None = None
    channels_last: bool = True
    label_smoothing: float = 0.0

    def __call__(self, batch: Batch, *, lr: float, weight_decay: float) -> Tensor:
        """One step on the rank's batch.

        Args:
            batch: uint8 (N, C, H, W) and labels.
            lr: learning rate of this step.
            weight_decay: of this step, for the decayed parameters.

        Returns:
            The rank's mean loss before the step, a scalar on the device, detached.
        """
        set_schedule_(self.optimizer, lr=lr, weight_decay=weight_decay)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        images = batch.images.to(self.device, non_blocking=True).contiguous(memory_format=layout)
        labels = batch.labels.to(self.device, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.amp):
            logits = self.model(normalize(images, self.input_spec))
            loss = smoothed_cross_entropy(logits, labels, smoothing=self.label_smoothing)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.network)
        return loss.detach()
