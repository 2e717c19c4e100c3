"""The moving parts of a training run, in memory: network, average, optimizer, data, and one epoch of them."""

from __future__ import annotations

import inspect
import math
import resource
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from mobileone.data.augment import TrainTransform
from mobileone.data.decode import ImageSource
from mobileone.data.loader import BadImage, BatchLoader, train_loader
from mobileone.errors import TrainingError
from mobileone.evaluation.metrics import EvalResult
from mobileone.evaluation.run import evaluate, progress_bar
from mobileone.model.branch_mode import set_branch_mode
from mobileone.model.network import MobileOne
from mobileone.train.config import TrainConfig
from mobileone.train.distributed import Distributed
from mobileone.train.ema import ModelEma
from mobileone.train.initial import initial_model
from mobileone.train.optim import create_optimizer
from mobileone.train.schedule import Schedule, batch_norm_momentum, scaled_lr
from mobileone.train.step import TrainStep, resolve_amp
from mobileone.train.sync_batch_norm import convert_sync_batch_norm

# torch 2.13 renamed the option, and warns at the old name.
BUFFER_OPTION = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel.__init__).parameters
)

READ_EVERY = 10
"""Steps between readings of the loss. Each reading waits for the device; between them it is kept fed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochTotals:
    """What an epoch's steps add up to, over all ranks.

    Attributes:
        loss: mean training loss.
        num_images: images seen.
        seconds: wall time.
        bad: images that this rank could not read.
    """

    loss: float
    num_images: int
    seconds: float
    bad: tuple[BadImage, ...]


class Trainer:
    """A network in training on this rank.

    Args:
        config: of the run.
        train_set: training images.
        dist: the ranks.

    Attributes:
        network: the network without wrappers, with raw weights.
        ema: the averaged network, or None.
        schedule: learning rate and weight decay of every step.
        steps_per_epoch: optimizer steps an epoch, the same on every rank.
    """

    def __init__(self, config: TrainConfig, train_set: ImageSource, dist: Distributed) -> None:
        self.config, self.dist = config, dist
        self.loader = _loader(config, train_set, dist)
        self.steps_per_epoch = len(self.loader)
        self.schedule = _schedule(config, self.steps_per_epoch, dist.world_size)
        self.network = initial_model(config, train_set).to(dist.device)
        if config.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.network.form == "train":
            set_branch_mode(self.network, config.branch_mode)
        # The average stays a plain network: copied before the conversion for several ranks.
        self.ema = ModelEma(self.network, decay=config.ema_decay) if config.ema_decay else None
        amp = resolve_amp(config.amp, dist.device)
        self.step = TrainStep(
            model=_spread(self.network, config, dist),
            network=self.network,
            input_spec=self.network.input_spec,
            optimizer=create_optimizer(
                self.network,
                lr=self.schedule.peak_lr,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
            ),
            scaler=torch.amp.GradScaler(dist.device.type, enabled=amp == "fp16"),
            ema=self.ema,
            device=dist.device,
            amp=amp,
            channels_last=config.channels_last,
            label_smoothing=config.label_smoothing,
        )
        # Statistics that come with weights are worth more than the first batch's.
        self.fresh_norms = [] if config.init else _norms(self.network)

    @property
    def averaged(self) -> MobileOne:
        """The network to evaluate and to keep: averaged weights, or the raw ones without averaging."""
        model = self.network if self.ema is None else self.ema.module
        assert isinstance(model, MobileOne)
        return model

    def train_epoch(self, epoch: int, *, show: bool) -> EpochTotals:
        """Every step of epoch 0, 1, …

        Args:
            epoch: decides order, augmentation and schedule.
            show: whether to draw a progress bar on stderr.

        Raises:
            TrainingError: if the loss is not finite, or memory runs out.
        """
        # Whatever is random in an epoch follows from these, so a resumed run needs no stored generator.
        torch.manual_seed(self.config.seed + 1_000_003 * epoch + self.dist.rank)
        started = time.perf_counter()
        try:
            losses, num_images, bad = self._steps(epoch, show=show)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            raise TrainingError(
                f"out of memory with batches of {self.config.batch_size} images of "
                f"{self.config.phase_at(epoch).size} px on a rank; lower batch_size or input_size"
            ) from error
        total = self.dist.reduce_sum(torch.tensor([num_images]))
        return EpochTotals(
            loss=math.fsum(losses) / len(losses),
            num_images=int(total),
            seconds=time.perf_counter() - started,
            bad=tuple(bad),
        )

    def _steps(self, epoch: int, *, show: bool) -> tuple[list[float], int, list[BadImage]]:
        """Losses of the steps (mean over ranks), and this rank's images and bad ones."""
        self.loader.set_epoch(epoch)
        self.step.model.train()
        losses: list[float] = []
        pending: list[Tensor] = []
        bad: list[BadImage] = []
        num_images = 0
        title = f"epoch {epoch + 1}/{self.config.epochs}"
        with progress_bar(self.loader, title=title, unit="step", hidden=not show) as bar:
            for index, batch in enumerate(bar):
                step = epoch * self.steps_per_epoch + index
                lr, decay = self.schedule.lr(step), self.schedule.decay(step)
                for norm, momentum in self.fresh_norms:
                    norm.momentum = batch_norm_momentum(momentum, step)
                pending.append(self.step(batch, lr=lr, weight_decay=decay))
                num_images += len(batch)
                bad += batch.bad
                if len(pending) == READ_EVERY or index + 1 == self.steps_per_epoch:
                    losses += self._read(pending, epoch, first=index + 1 - len(pending))
                    pending.clear()
                    if show:
                        rate = num_images * self.dist.world_size / max(bar.format_dict["elapsed"], 1e-9)
                        memory = _peak_memory_gb(self.dist.device)
                        bar.set_postfix_str(
                            f"loss {losses[-1]:.3f}, lr {lr:.4f}, {rate:.0f} images/s, {memory:.1f} GB",
                            refresh=False,
                        )
        return losses, num_images, bad

    def _read(self, pending: Sequence[Tensor], epoch: int, *, first: int) -> list[float]:
        """Losses of the last steps, the mean over ranks: every rank sees the same and stops at the same."""
        values: list[float] = (
            self.dist.reduce_sum(torch.stack(list(pending))) / self.dist.world_size
        ).tolist()
        for step, value in enumerate(values, start=first + 1):
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss became {value} in epoch {epoch + 1}, step {step} of {self.steps_per_epoch}; "
                    "the files hold the epochs before it; try a lower base_lr or a longer warmup_epochs"
                    + (", or amp=bf16 or off" if self.step.amp == "fp16" else "")
                )
        return values

    def evaluate(self, val_set: ImageSource, *, epoch: int, show: bool) -> EvalResult:
        """The averaged network on the validation images, the same result on every rank.

        Raises:
            TrainingError: if its loss is not finite.
        """
        model = self.averaged
        if not self.config.sync_bn:
            # Every rank has BatchNorm statistics of its own; what rank 0 saves is what is evaluated.
            self.dist.broadcast_(model.buffers())
        result = evaluate(
            model,
            val_set,
            batch_size=self.config.batch_size,
            num_workers=self.config.num_workers,
            on_bad_image=self.config.on_bad_image,
            dist=self.dist,
            amp=self.step.amp,
            progress=show,
        )
        if not math.isfinite(result.loss):
            raise TrainingError(
                f"the validation loss became {result.loss} after epoch {epoch + 1}; the files hold the "
                "epochs before it; try a lower base_lr, or amp=off"
            )
        return result

    def state_dict(self) -> dict[str, Any]:
        """What going on needs, beside the configuration and the epoch."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.step.optimizer.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state of `state_dict`."""
        self.network.load_state_dict(state["network"])
        self.step.optimizer.load_state_dict(state["optimizer"])
        self.step.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])


def _norms(network: nn.Module) -> list[tuple[_BatchNorm, float]]:
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [(norm, norm.momentum) for norm in norms if norm.momentum is not None]


def _loader(config: TrainConfig, train_set: ImageSource, dist: Distributed) -> BatchLoader:
    return train_loader(
        train_set,
        _transform(config),
        batch_size=config.batch_size,
        seed=config.seed,
        rank=dist.rank,
        world_size=dist.world_size,
        num_workers=config.num_workers,
        on_bad_image=config.on_bad_image,
        pin_memory=dist.device.type == "cuda",
    )


def _transform(config: TrainConfig) -> Callable[[int], TrainTransform]:
    def at_epoch(epoch: int) -> TrainTransform:
        phase = config.phase_at(epoch)
        return TrainTransform(
            size=phase.size,
            interpolation=config.interpolation,
            flip=config.flip,
            scale=config.crop_scale,
            ratio=config.crop_ratio,
            auto_augment=phase.auto_augment,
        )

    return at_epoch


def _schedule(config: TrainConfig, steps_per_epoch: int, world_size: int) -> Schedule:
    return Schedule(
        total_steps=config.epochs * steps_per_epoch,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        peak_lr=scaled_lr(config.base_lr, batch_size=config.batch_size, world_size=world_size),
        min_lr=config.min_lr,
        weight_decay=config.weight_decay,
        weight_decay_end=config.weight_decay_end,
    )


def _spread(network: nn.Module, config: TrainConfig, dist: Distributed) -> nn.Module:
    """The network as several ranks train it; alone it is itself."""
    if dist.world_size == 1:
        return network
    if config.sync_bn:
        network = convert_sync_batch_norm(network)
    options: dict[str, Any] = {BUFFER_OPTION: not config.sync_bn}
    # A 1×1 kernel's last two strides mean nothing, and DDP warns where they are not the ones it would choose.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    return DistributedDataParallel(
        network,
        device_ids=[dist.device.index] if dist.device.type == "cuda" else None,
        **options,
    )


def _is_out_of_memory(error: BaseException) -> bool:
    # On a CPU torch raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _peak_memory_gb(device: torch.device) -> float:
    """Peak memory in 1e9 bytes: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
