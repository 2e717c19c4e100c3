"""The moving parts of a training run, in memory: network, average, optimizer, schedule, and data."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mobileone.data.loader import Batch, BatchLoader, eval_loader, train_loader
from mobileone.data.source import ImageSource
from mobileone.errors import ConfigError, InferenceError, TrainingError
from mobileone.evaluation.evaluate import evaluate
from mobileone.evaluation.metrics import EvalResult
from mobileone.heap import kept_heap
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec, Size, sides, size_text
from mobileone.model.branch_mode import set_branch_mode
from mobileone.model.network import MobileOne
from mobileone.precision import AmpDtype, float32_products, resolve_amp
from mobileone.ranks.distributed import Distributed
from mobileone.reparam.fuse import reparameterize
from mobileone.training.config.objective import Distill
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.ema import ModelEma
from mobileone.training.method.freeze import freeze_
from mobileone.training.method.initial import initial_model
from mobileone.training.method.loss import TrainLoss
from mobileone.training.method.mix import Mixer
from mobileone.training.method.optim import create_optimizer
from mobileone.training.method.schedule import Schedule, scaled_lr
from mobileone.training.method.step import StepResult, TrainStep
from mobileone.training.method.teacher import SourceTeacher, open_teacher
from mobileone.training.method.transforms import transform_at
from mobileone.training.run.ddp import wrap_ddp
from mobileone.training.run.prefetch import Prefetched

PROBED = ("stem", "stages")
"""Modules that a linear probe leaves as they are."""


class Trainer:
    """A network in training on this rank.

    Args:
        config: of the run.
        train_set: training images.
        dist: the ranks.
        step_images: images a step over all ranks, where the run was started with other ranks than these; None
            is `config.batch_size` a rank.
        teacher: a module to learn from, instead of `config.distill.teacher`.
        log: takes a line for the user: of loader workers that died.

    Raises:
        ConfigError: if the configuration does not fit the data: a teacher or weights of other classes, a
            frozen module that does not exist, batches of one value a channel.

    Attributes:
        network: the network without wrappers, with raw weights.
        ema: the averaged network, or None.
        schedule: learning rate and weight decay of every step.
        steps_per_epoch: optimizer steps an epoch, the same on every rank.
        step_images: images a step over all ranks.
        teacher: what the run learns from beside the labels, or None.
        step: one step of the network; `take` does it at the schedule's rates.
        loader: of this rank's share of the training images; to be closed at the end.
    """

    def __init__(
        self,
        config: TrainConfig,
        train_set: ImageSource,
        dist: Distributed,
        *,
        step_images: int | None = None,
        teacher: nn.Module | None = None,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.config, self.train_set, self.dist, self.log = config, train_set, dist, log
        step_images = step_images or config.batch_size * dist.world_size
        # A probe is one step of all images.
        self.step_images = len(train_set) if config.probe.is_all else min(step_images, len(train_set))
        self.loader = self._loader()
        self.steps_per_epoch = len(self.loader)
        self.schedule = _schedule(config, self.steps_per_epoch, step_images)
        self.network = self._network()
        self._check_statistics()
        # The average stays a plain network: copied before the conversion for several ranks.
        averages = config.optim.ema_decay > 0 and not config.probe.is_all
        self.ema = ModelEma(self.network, decay=config.optim.ema_decay) if averages else None
        amp = resolve_amp(config.compute.amp, dist.device)
        self.teacher = self._teacher(teacher, amp)
        self.step = self._step(amp)

    def _network(self) -> MobileOne:
        """The network before its first step, on its device."""
        network = initial_model(self.config, self.train_set).to(self.dist.device)
        freeze_(network, PROBED if self.config.probe.is_all else self.config.freeze)
        if self.config.compute.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if network.form == "train":
            set_branch_mode(network, self.config.compute.branch_mode)
        return network

    def _compiled(self, network: nn.Module) -> nn.Module:
        """The network, computing as `torch.compile` makes it if that is asked for; the same module."""
        if self.config.compute.compile:
            network.compile()
        return network

    def _check_statistics(self) -> None:
        """Refuse batches that leave a BatchNorm a single value a channel, of which there is no variance."""
        config, ranks = self.config, self.dist.world_size
        fewest = self.step_images // ranks
        images = fewest // min(config.compute.accumulate, fewest)  # in the smallest part of a step
        together = images * (ranks if config.compute.sync_bn else 1)
        size = min((config.images_at(epoch).size for epoch in range(config.epochs)), key=_area)
        for level in self.network.feature_info.info:
            places = math.prod(math.ceil(side / level["reduction"]) for side in sides(size))
            stage = self.network.get_submodule(level["module"])
            trained = [norm for norm in stage.modules() if isinstance(norm, _BatchNorm)]
            if together * places > 1 or not any(norm.weight.requires_grad for norm in trained):
                continue
            few = len(self.train_set) == 1
            raise ConfigError(
                f"BatchNorm in {level['module']} would see one value a channel, of {images} image of "
                f"{size_text(size)} px, and needs two; "
                + ("add training images" if few else "use batch_size=2 or more for each part of a step")
                + f", or input_size above {level['reduction']}"
            )

    def _step(self, amp: AmpDtype | None) -> TrainStep:
        """A step of the network, as the configuration wants it."""
        config, network, dist = self.config, self.network, self.dist
        return TrainStep(
            model=wrap_ddp(self._compiled(network), config, dist),
            network=network,
            input_spec=network.input_spec,
            optimizer=create_optimizer(network, config.optim, lr=self.schedule.peak_lr),
            scaler=torch.amp.GradScaler(dist.device.type, enabled=amp == "fp16"),
            ema=self.ema,
            device=dist.device,
            dist=dist,
            step_images=self.step_images,
            amp=amp,
            channels_last=config.compute.channels_last,
            loss=TrainLoss.of(config, self.train_set.labels, network.num_classes, device=dist.device),
            mixer=Mixer(options=config.mix, seed=config.seed) if config.mix.is_on else None,
            teacher=None if config.distill.looks_once else self.teacher,
            clip_norm=config.optim.clip_norm,
            accumulate=config.compute.accumulate,
            # Statistics that come with weights are worth more than the first batch's.
            fresh_norms=() if config.init else _norms(network),
        )

    @property
    def averaged(self) -> MobileOne:
        """The network to evaluate and to keep: averaged weights, or the raw ones without averaging."""
        model = self.network if self.ema is None else self.ema.module
        assert isinstance(model, MobileOne)
        return model

    def batches(self, epoch: int, *, start: int = 0) -> Prefetched:
        """The batches of epoch 0, 1, … from step `start` on, and the network ready for them."""
        self.loader.set_epoch(epoch, start=start)
        self.train_mode()
        return Prefetched(self.loader, self.dist.device)

    def take(self, batch: Batch, *, step: int) -> StepResult:
        """One step on a batch; `step` of the whole run, 0 for the first, decides the rates and the mixing."""
        lr, decay = self.schedule.lr(step), self.schedule.decay(step)
        return self.step(batch, lr=lr, weight_decay=decay, step=step)

    def train_mode(self) -> None:
        """Ready for steps: everything but what is frozen, whose BatchNorms must not see the batches."""
        self.step.model.train()
        for name in self.config.freeze:
            self.network.get_submodule(name).eval()

    def evaluate(self, val_set: ImageSource, *, epoch: int, show: bool) -> EvalResult:
        """The averaged network on the validation images, the same result on every rank.

        Raises:
            TrainingError: if its loss is not finite, or what to choose the best epoch by is not measured.
        """
        model = self.averaged
        if not self.config.compute.sync_bn:
            # Every rank has BatchNorm statistics of its own; what rank 0 saves is what is evaluated.
            self.dist.broadcast_(model.buffers())
        try:
            result = evaluate(
                fused(model),
                val_set,
                batch_size=self.config.batch_size,
                num_workers=self.config.loading.num_workers,
                on_bad_image=self.config.loading.on_bad_image,
                dist=self.dist,
                amp=self.step.amp,
                progress=show,
                on_dead_worker=self.report_worker,
            )
        except InferenceError as error:
            raise TrainingError(
                f"after epoch {epoch + 1}, in validation, {error}; the files hold the epochs before it; try "
                "a lower base_lr, or amp=off"
            ) from error
        select = self.config.select
        if select != "loss" and select not in result.metrics:
            raise TrainingError(
                f"select={select} was not measured after epoch {epoch + 1}: no validation image of that "
                "class could be read; mend them, or choose by another figure"
            )
        return result

    def state_dict(self) -> dict[str, Any]:
        """What going on needs, beside the configuration and the progress."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.step.optimizer.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "is_taught": self.teacher is not None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state of `state_dict`.

        Raises:
            TrainingError: if the run was taught, and there is no teacher now, or the other way round.
        """
        if state["is_taught"] is not (self.teacher is not None):
            was = "learnt from a teacher" if state["is_taught"] else "had no teacher"
            raise TrainingError(f"the run {was} so far; resume it with the same `teacher`")
        self.network.load_state_dict(state["network"])
        self.step.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # of a run in fp16; by another precision it has none, and this one starts anew
            self.step.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])

    def _teacher(self, module: nn.Module | None, amp: AmpDtype | None) -> SourceTeacher | None:
        distill = self.config.distill
        named = distill.teacher
        if module is not None and self.config.probe.is_all:
            raise ConfigError("a probe has no teacher; leave it out, or train by steps (probe.views=none)")
        if module is not None and named is not None:
            raise ConfigError(f"there are two teachers: distill.teacher={named} and a module; pass one")
        source = named if module is None else module
        if source is None:
            usual = Distill()
            for name in ("views", "weight", "temperature", "features"):
                if getattr(distill, name) != getattr(usual, name):
                    raise ConfigError(
                        f"distill.{name}={getattr(distill, name)} needs a teacher; set distill.teacher, or "
                        "pass the same `teacher` to fit"
                    )
            return None
        classes = tuple(self.train_set.classes)
        return open_teacher(
            source,
            classes=classes,
            input_spec=self.network.input_spec,
            device=self.dist.device,
            amp=amp,
            task=self.config.task,
            looks_once=distill.looks_once,
            size=distill.size,
            features=distill.features > 0,
        )

    def plain_views(self, spec: InputSpec) -> BatchLoader:
        """The training images once each, as in an evaluation by `spec`: this rank's share, to be closed."""
        return eval_loader(
            self.train_set,
            EvalTransform.from_spec(spec),
            batch_size=self.config.batch_size,
            rank=self.dist.rank,
            world_size=self.dist.world_size,
            num_workers=self.config.loading.num_workers,
            on_bad_image=self.config.loading.on_bad_image,
            pin_memory=self.dist.device.type == "cuda",
            on_dead_worker=self.report_worker,
        )

    def report_worker(self, line: str) -> None:
        """Tell the user of a loader worker that died."""
        where = f"rank {self.dist.rank}: " if self.dist.world_size > 1 else ""
        self.log(where + line)

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
            sampling=self.config.loading.sampling,
            effective_beta=self.config.loading.effective_beta,
            on_dead_worker=self.report_worker,
        )


@contextmanager
def compute_settings(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """What a run asks of torch and the allocator while it computes, or steps are timed, and back."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = config.compute.cudnn_benchmark
    heap = kept_heap() if device.type == "cpu" else nullcontext()
    try:
        with heap, float32_products(tf32=config.compute.tf32):
            yield
    finally:
        torch.backends.cudnn.benchmark = before


def fused(model: MobileOne) -> MobileOne:
    """What evaluates as the model does with one convolution a unit: a copy in inference form.

    Always a copy: what evaluates it may lay its weights out anew, and an optimizer wants them as they were.
    """
    if model.form != "train":
        return copy.deepcopy(model)
    was_training = model.training
    try:
        return reparameterize(model.eval())
    finally:
        model.train(was_training)


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
        cooldown_steps=None
        if config.cooldown_epoch is None
        else (config.epochs - config.cooldown_epoch) * steps_per_epoch,
    )


def _area(size: Size) -> int:
    return math.prod(sides(size))
