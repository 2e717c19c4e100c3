"""The moving parts of a training run, in memory: network, average, optimizer, data, and one epoch of them."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mobileone.data.loader import BatchLoader, train_loader
from mobileone.data.source import ImageSource
from mobileone.errors import ConfigError, TrainingError
from mobileone.evaluation.evaluate import evaluate
from mobileone.evaluation.metrics import EvalResult
from mobileone.model.branch_mode import set_branch_mode
from mobileone.model.network import MobileOne
from mobileone.precision import AmpDtype, resolve_amp
from mobileone.progress_bar import progress_bar
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.ema import ModelEma
from mobileone.training.method.freeze import freeze_
from mobileone.training.method.initial import initial_model
from mobileone.training.method.loss import TrainLoss
from mobileone.training.method.mix import Mixer
from mobileone.training.method.optim import create_optimizer
from mobileone.training.method.schedule import Schedule, scaled_lr
from mobileone.training.method.step import StepResult, TrainStep
from mobileone.training.method.teacher import Teacher, open_teacher
from mobileone.training.method.transforms import transform_at
from mobileone.training.run.ddp import wrap_ddp
from mobileone.training.run.progress import EpochProgress, Waits, duration
from mobileone.training.run.random_state import seed_everything
from mobileone.training.watch.callback import StepReport
from mobileone.training.watch.memory import batch_that_fits, is_out_of_memory, peak_memory_gb, trial_step
from mobileone.training.watch.time_left import seconds_left

READ_EVERY = 10
"""Steps between readings of the loss on a GPU. Each reading waits for it; between them it is kept fed."""

NAMED_IMAGES = 3  # of a bad batch, in the message that ends a run; train.log has them all


class Trainer:
    """A network in training on this rank.

    Args:
        config: of the run.
        train_set: training images.
        dist: the ranks.
        step_images: images a step over all ranks, where the run was started with other ranks than these; None
            is `config.batch_size` a rank.
        teacher: a module to learn from, instead of `config.distill.teacher`.
        report: told, in a line, what a user should know: skipped steps, dead workers.

    Raises:
        ConfigError: if the configuration does not fit the data: a teacher or weights of other classes, a
            frozen module that does not exist.

    Attributes:
        network: the network without wrappers, with raw weights.
        ema: the averaged network, or None.
        schedule: learning rate and weight decay of every step.
        steps_per_epoch: optimizer steps an epoch, the same on every rank.
        step_images: images a step over all ranks.
        num_skipped: steps of the run that were skipped because something was not finite.
        last_test: the newest evaluation, or None.
    """

    def __init__(
        self,
        config: TrainConfig,
        train_set: ImageSource,
        dist: Distributed,
        *,
        step_images: int | None = None,
        teacher: nn.Module | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.config, self.train_set, self.dist, self.report = config, train_set, dist, report
        step_images = step_images or config.batch_size * dist.world_size
        self.step_images = min(step_images, len(train_set))
        self.loader = self._loader()
        self.steps_per_epoch = len(self.loader)
        self.schedule = _schedule(config, self.steps_per_epoch, step_images)
        self.num_skipped = 0
        self.last_test: EvalResult | None = None
        # On a CPU a reading waits for nothing.
        self.read_every = 1 if dist.device.type == "cpu" else READ_EVERY
        self.network = initial_model(config, train_set).to(dist.device)
        freeze_(self.network, config.freeze)
        if config.compute.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.network.form == "train":
            set_branch_mode(self.network, config.compute.branch_mode)
        # The average stays a plain network: copied before the conversion for several ranks.
        self.ema = ModelEma(self.network, decay=config.optim.ema_decay) if config.optim.ema_decay else None
        amp = resolve_amp(config.compute.amp, dist.device)
        self.step = TrainStep(
            model=wrap_ddp(self.network, config, dist),
            network=self.network,
            input_spec=self.network.input_spec,
            optimizer=create_optimizer(
                self.network,
                lr=self.schedule.peak_lr,
                momentum=config.optim.momentum,
                weight_decay=config.optim.weight_decay,
            ),
            scaler=torch.amp.GradScaler(dist.device.type, enabled=amp == "fp16"),
            ema=self.ema,
            device=dist.device,
            dist=dist,
            step_images=self.step_images,
            amp=amp,
            channels_last=config.compute.channels_last,
            loss=TrainLoss.of(config, train_set.labels, self.network.num_classes, device=dist.device),
            mixer=Mixer(options=config.mix, seed=config.seed) if config.mix.is_on else None,
            teacher=self._teacher(teacher, amp),
            clip_norm=config.optim.clip_norm,
            accumulate=config.compute.accumulate,
            # Statistics that come with weights are worth more than the first batch's.
            fresh_norms=() if config.init else _norms(self.network),
        )

    @property
    def averaged(self) -> MobileOne:
        """The network to evaluate and to keep: averaged weights, or the raw ones without averaging."""
        model = self.network if self.ema is None else self.ema.module
        assert isinstance(model, MobileOne)
        return model

    def train_epoch(
        self,
        progress: EpochProgress,
        *,
        show: bool,
        pause: Callable[[], None] = lambda: None,
        tell: Callable[[StepReport], None] = lambda report: None,
    ) -> None:
        """Every step that is left of an epoch; `progress` moves with it.

        Args:
            progress: where to start. Its epoch decides order, augmentation and schedule.
            show: whether to draw a progress bar on stderr.
            pause: called between two steps, every few of them, at the same ones on all ranks: everything is
                consistent then and may be saved.
            tell: told where the run is, before each `pause`.

        Raises:
            TrainingError: if too many steps had to be skipped, or memory runs out.
        """
        if not progress.steps:
            seed_everything(self.config.seed + 1_000_003 * progress.epoch + self.dist.rank)
        try:
            if progress.steps < self.steps_per_epoch:
                self._steps(progress, show=show, pause=pause, tell=tell)
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            error.__traceback__ = None  # its frames hold the failed step's tensors
        raise TrainingError(self._out_of_memory(progress.epoch))

    def train_mode(self) -> None:
        """Ready for steps: everything but what is frozen, whose BatchNorms must not see the batches."""
        self.step.model.train()
        for name in self.config.freeze:
            self.network.get_submodule(name).eval()

    def _steps(
        self,
        progress: EpochProgress,
        *,
        show: bool,
        pause: Callable[[], None],
        tell: Callable[[StepReport], None],
    ) -> None:
        self.loader.set_epoch(progress.epoch, start=progress.steps)
        self.train_mode()
        pending: list[tuple[Tensor, StepResult]] = []
        first, seconds, waiting = progress.steps, progress.seconds, progress.waiting
        title = f"epoch {progress.epoch + 1}/{self.config.epochs}"
        waits = Waits(self.loader)
        started = time.perf_counter()
        with progress_bar(
            waits, title=title, unit="step", hidden=not show, initial=first, total=self.steps_per_epoch
        ) as bar:
            for index, batch in enumerate(bar, start=first):
                step = progress.epoch * self.steps_per_epoch + index
                lr, decay = self.schedule.lr(step), self.schedule.decay(step)
                pending.append((batch.indices, self.step(batch, lr=lr, weight_decay=decay, step=step)))
                progress.bad += batch.bad
                if len(pending) < self.read_every and index + 1 < self.steps_per_epoch:
                    continue
                self._read(pending, progress)
                pending.clear()
                elapsed = time.perf_counter() - started
                progress.seconds, progress.waiting = seconds + elapsed, waiting + waits.seconds
                report = self._report_of(progress, elapsed / (index + 1 - first), waits.seconds / elapsed)
                if show:
                    bar.set_postfix_str(self._line(report), refresh=False)
                tell(report)
                pause()

    def _report_of(self, progress: EpochProgress, step_seconds: float, data_wait: float) -> StepReport:
        step = progress.epoch * self.steps_per_epoch + progress.steps
        return StepReport(
            step=step,
            epoch=progress.epoch + 1,
            loss=progress.losses[-1] if progress.losses else math.nan,
            lr=self.schedule.lr(step - 1),
            weight_decay=self.schedule.decay(step - 1),
            images_per_second=self.step_images / step_seconds,
            data_wait=data_wait,
            seconds_left=self.seconds_left(
                progress, step_seconds, size=self.config.images_at(progress.epoch).size
            ),
        )

    def seconds_left(self, progress: EpochProgress, step_seconds: float, *, size: int) -> float:
        """What the run still takes, when a step of images of `size` pixels a side took `step_seconds`."""
        return seconds_left(
            self.config,
            progress,
            steps_per_epoch=self.steps_per_epoch,
            step_seconds=step_seconds,
            size=size,
            test_seconds=self.last_test.seconds if self.last_test else 0.0,
        )

    def _line(self, report: StepReport) -> str:
        """For the progress bar."""
        test = f"acc@1 {self.last_test.acc1:.2f}, " if self.last_test else ""
        return (
            f"loss {report.loss:.3f}, {test}lr {report.lr:.4f}, {report.images_per_second:.0f} images/s, "
            f"data {report.data_wait:.0%}, {peak_memory_gb(self.dist.device):.1f} GB, "
            f"{duration(report.seconds_left)} left"
        )

    def _read(self, pending: list[tuple[Tensor, StepResult]], progress: EpochProgress) -> None:
        """Take over the results of the last steps. Every rank has the same, and stops at the same."""
        losses = torch.stack([result.loss for _, result in pending]).tolist()
        finite = torch.stack([result.finite for _, result in pending]).tolist()
        for (indices, _), loss, was_finite in zip(pending, losses, finite, strict=True):
            progress.steps += 1
            if was_finite:
                progress.losses.append(loss)
            else:
                self._skip(progress, loss, indices)

    def _skip(self, progress: EpochProgress, loss: float, indices: Tensor) -> None:
        """Report a step that was not taken, and stop when there are too many."""
        self.num_skipped += 1
        shares = self.dist.gather(indices.tolist())
        names = [self.train_set.name(index) for share in shares for index in share]
        what = f"the loss became {loss}"
        if math.isfinite(loss):
            what = f"a gradient was not finite (the loss was {loss:.4g})"
        what += f" in epoch {progress.epoch + 1}, step {progress.steps} of {self.steps_per_epoch}"
        self.report(f"skipped a step: {what}; its images: {' '.join(names)}")
        if self.num_skipped > self.config.max_skipped_steps:
            raise TrainingError(
                f"{what}; such steps are skipped, but it is number {self.num_skipped}; max_skipped_steps is "
                f"{self.config.max_skipped_steps}; its images: {' '.join(names[:NAMED_IMAGES])}"
                + (f" … (all {len(names)} are in train.log)" if len(names) > NAMED_IMAGES else "")
                + "; what was saved before is whole; try a lower base_lr or a longer warmup_epochs"
                + (", or amp=bf16 or off" if self.step.amp == "fp16" else "")
            )

    def _out_of_memory(self, epoch: int) -> str:
        """The message, with the batch that would have fitted."""
        self.step.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        size = self.config.images_at(epoch).size
        parts = self.config.compute.accumulate
        images = math.ceil(self.step_images / self.dist.world_size / parts)
        trial = trial_step(
            self.network,
            size=size,
            device=self.dist.device,
            amp=self.step.amp,
            channels_last=self.config.compute.channels_last,
            branch_mode=self.config.compute.branch_mode,
        )
        fits = batch_that_fits(trial, batch_size=images, device=self.dist.device)
        message = f"out of memory with batches of {images} images of {size} px on a rank; "
        if fits is None:
            return message + "lower batch_size or input_size, or raise accumulate"
        message += (
            f"about {fits} would have fitted, as trials of smaller batches tell: batch_size={fits * parts}"
        )
        more = math.ceil(images * parts / fits)
        return message + (f", or accumulate={more}" if 2 * more <= self.config.batch_size else "")

    def evaluate(self, val_set: ImageSource, *, epoch: int, show: bool) -> EvalResult:
        """The averaged network on the validation images, the same result on every rank.

        Raises:
            TrainingError: if its loss is not finite.
        """
        model = self.averaged
        if not self.config.compute.sync_bn:
            # Every rank has BatchNorm statistics of its own; what rank 0 saves is what is evaluated.
            self.dist.broadcast_(model.buffers())
        result = evaluate(
            model,
            val_set,
            batch_size=self.config.batch_size,
            num_workers=self.config.loading.num_workers,
            on_bad_image=self.config.loading.on_bad_image,
            dist=self.dist,
            amp=self.step.amp,
            progress=show,
            on_dead_worker=self._report_worker,
        )
        self.last_test = result
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
            "num_skipped": self.num_skipped,
            "is_taught": self.step.teacher is not None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state of `state_dict`.

        Raises:
            TrainingError: if the run was taught, and there is no teacher now, or the other way round.
        """
        if state["is_taught"] is not (self.step.teacher is not None):
            was = "learnt from a teacher" if state["is_taught"] else "had no teacher"
            raise TrainingError(f"the run {was} so far; resume it with the same `teacher`")
        self.network.load_state_dict(state["network"])
        self.step.optimizer.load_state_dict(state["optimizer"])
        self.step.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.num_skipped = int(state["num_skipped"])

    def _teacher(self, module: nn.Module | None, amp: AmpDtype | None) -> Teacher | None:
        named = self.config.distill.teacher
        if module is not None and named is not None:
            raise ConfigError(f"there are two teachers: distill.teacher={named} and a module; pass one")
        source = named if module is None else module
        if source is None:
            return None
        classes = tuple(self.train_set.classes)
        return open_teacher(
            source, classes=classes, input_spec=self.network.input_spec, device=self.dist.device, amp=amp
        )

    def _report_worker(self, line: str) -> None:
        where = f"rank {self.dist.rank}: " if self.dist.world_size > 1 else ""
        self.report(where + line)

    def _loader(self) -> BatchLoader:
        return train_loader(
            self.train_set,
            transform_at(self.config),
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            rank=self.dist.rank,
            world_size=self.dist.world_size,
            num_workers=self.config.loading.num_workers,
            on_bad_image=self.config.loading.on_bad_image,
            pin_memory=self.dist.device.type == "cuda",
            step_size=self.step_images,
            on_dead_worker=self._report_worker,
        )


def _norms(network: nn.Module) -> list[tuple[_BatchNorm, float]]:
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [(norm, norm.momentum) for norm in norms if norm.momentum is not None]


def _schedule(config: TrainConfig, steps_per_epoch: int, step_images: int) -> Schedule:
    return Schedule(
        total_steps=config.epochs * steps_per_epoch,
        warmup_steps=round(config.optim.warmup_epochs * steps_per_epoch),
        peak_lr=scaled_lr(config.optim.base_lr, step_images=step_images),
        min_lr=config.optim.min_lr,
        weight_decay=config.optim.weight_decay,
        weight_decay_end=config.optim.weight_decay_end,
    )
