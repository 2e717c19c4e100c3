"""Steps that are tried out: what one takes, in time and memory, before or after a run."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mobileone.data.loader import Batch
from mobileone.input_spec import Size, sides
from mobileone.model.block import MobileOneBlock
from mobileone.model.branch_mode import set_branch_mode
from mobileone.model.create import create_model
from mobileone.model.network import MobileOne
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.optimization import Optim
from mobileone.training.method.optim import create_optimizer
from mobileone.training.method.step import TrainStep


class Trial:
    """Steps on noise, real in all but their images. The network they move is of no use afterwards.

    Args:
        step: of a network in training mode; all its ranks must try the same.
    """

    def __init__(self, step: TrainStep) -> None:
        self.step = step

    @classmethod
    def alone(cls, step: TrainStep) -> Trial:
        """Like the steps of `step`, but of a fresh network on this rank alone, which waits for no other.

        Without what stands beside the network for good: average, momentum, lessons. In as many parts as the
        step.
        """
        network = step.network
        assert isinstance(network, MobileOne)
        fresh = create_model(
            network.variant,
            num_classes=network.num_classes,
            form=network.form,
            in_chans=network.in_chans,
            output_stride=network.output_stride,
        ).to(step.device)
        layout = torch.channels_last if step.channels_last else torch.contiguous_format
        fresh.train().to(memory_format=layout)  # type: ignore[call-overload]
        if isinstance(network.stem, MobileOneBlock):
            set_branch_mode(fresh, network.stem.branch_mode)
        scaler = torch.amp.GradScaler(step.device.type, enabled=step.scaler.is_enabled())
        return cls(
            replace(
                step,
                model=fresh,
                network=fresh,
                optimizer=create_optimizer(fresh, Optim(momentum=0.0), lr=0.0),
                scaler=scaler,
                ema=None,
                dist=Distributed(device=step.device),
                step_images=None,
                lessons=None,
                fresh_norms=(),
            )
        )

    def in_parts(self, accumulate: int) -> Trial:
        """The same steps, taken in that many parts."""
        return Trial(replace(self.step, accumulate=accumulate))

    def __call__(self, count: int, size: Size) -> None:
        """One step of `count` images of that size on this rank; keeps no gradients.

        Beside it lies what lies beside a run's steps: on a GPU the batch that comes next.
        """
        network, device = self.step.network, self.step.device
        assert isinstance(network, MobileOne)
        height, width = sides(size)
        packed = torch.randint(0, 256, (count, height, width, network.in_chans), dtype=torch.uint8)
        pixels = packed.permute(0, 3, 1, 2)  # channels last, as the loader's
        indices = torch.arange(count)
        group = self.step.optimizer.param_groups[0]
        following: Tensor | None = None
        try:
            if device.type == "cuda":
                following = pixels.to(device)
            batch = Batch(pixels, indices % network.num_classes, indices)
            self.step(batch, lr=group["lr"], weight_decay=group["weight_decay"])
        finally:
            del following
            self.step.optimizer.zero_grad(set_to_none=True)
