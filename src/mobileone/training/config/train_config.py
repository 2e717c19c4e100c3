"""What a training run depends on, as one frozen dataclass that reads from text. Imports no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from mobileone.errors import ConfigError
from mobileone.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec, Interpolation
from mobileone.training.config.config_text import changed, converted
from mobileone.training.config.interval import Interval
from mobileone.training.config.options import Augment, Distill, LossName, Mix, require
from mobileone.training.config.options import Phase as Phase
from mobileone.variants import VARIANTS, BranchMode, Variant, get_variant

Amp = Literal["auto", "off", "bf16", "fp16"]


class EpochImages(NamedTuple):
    """The training images of an epoch: side in pixels, and factor on the policy's magnitudes."""

    size: int
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything a training run depends on, besides the number of ranks.

    Attributes:
        model: variant name, or a `Variant`; None takes the network of `init`.
        init: weights to start from, anything `load_model` reads; None starts at random.
        data: `"digits"`, a folder with `train/<class>/` and `val/<class>/`, or shards (see `open_data`).
        val_data: likewise, for validation; None is the validation part of `data`.
        epochs: passes over the training images.
        batch_size: images a step on one rank.
        base_lr: peak learning rate for 256 images a step over all ranks; scaled in proportion.
        min_lr: learning rate at the end, absolute.
        warmup_epochs: epochs of linear warm-up, fractions allowed.
        momentum: of SGD, in [0, 1).
        weight_decay: L2 coefficient at the start, on kernels alone.
        weight_decay_end: the same at the end, on the learning rate's cosine.
        loss: `"cross_entropy"`, or `"bce"`, a binary cross-entropy for every class (see docs/training.md).
        label_smoothing: share of the target spread over all classes, in [0, 1).
        class_weights: factor of each class in the loss: `"none"`, `"balanced"` (so that every class counts
            the same, however many images it has), or one number a class.
        distill: a teacher to learn from.
        clip_norm: largest norm of all gradients together; longer ones are shortened to it; 0 is off.
        accumulate: parts that a step's images are taken in, one after the other, to need less memory.
        freeze: modules that stay as they are, by name (`stem`, `stages.0`, `head` …), with everything in
            them; (`stem`, `stages`) leaves a linear probe.
        residual_start: whether fresh units start close to the identity (see `start_residual_`); the paper
            does not, short runs need it.
        ema_decay: of the averaged weights, in [0, 1); 0 is no averaging.
        input_size: side of the square images, pixels, in the last phase and in evaluation.
        progressive: earlier phases of smaller images, in order.
        crop_scale: area of the random crop, as a share of the image: smallest and largest.
        crop_ratio: width / height of the random crop: smallest and largest.
        flip: probability of a horizontal mirror image.
        interpolation: resize filters of training; one is drawn for each image.
        augment: what is done to an image beyond that.
        mix: what is done to a batch.
        eval_crop: share of the short side that evaluation's centre crop keeps, in (0, 1].
        eval_interpolation: resize filter of evaluation.
        mean: per-channel mean of pixels in [0, 1].
        std: per-channel standard deviation, likewise.
        eval_every: epochs between evaluations; the last epoch is always evaluated.
        device: `"auto"` (CUDA if there is one), `"cpu"`, `"cuda"` or `"cuda:N"`.
        amp: mixed precision: `"off"`, `"bf16"`, `"fp16"` (with a gradient scaler), or `"auto"` (bf16 on a
            GPU that computes in it, fp16 on another, off on the CPU).
        channels_last: whether activations lie as (N, H, W, C) in memory.
        sync_bn: whether BatchNorm's statistics are those of all ranks.
        branch_mode: how train-form units compute: `"branches"`, `"online"` (one convolution a unit, the same
            function), or `"auto"`, the faster one where that was measured.
        num_workers: loader processes a rank; 0 loads in the training process.
        on_bad_image: `"error"` stops at an unreadable image, `"skip"` counts it and goes on.
        seed: of the weights, the order and the augmentation.
        checkpoint_every: time or steps between checkpoints within an epoch: `"1000s"`, `"500steps"` or
            `"none"`; one is written at the end of an epoch anyway.
        keep_checkpoints: how many of the newest stay; with 2 or more, a damaged one can be done without.
        max_skipped_steps: steps of the whole run that may be skipped because the loss or a gradient was not
            finite; one more stops the run.
        weights_suffix: kind of the `last` and `best` files: `".safetensors"` or `".pt"`.

    Raises:
        ConfigError: on a value out of range.
    """

    model: str | Variant | None = "mobileone_s0"
    init: str | None = None
    data: str = "digits"
    val_data: str | None = None
    epochs: int = 300
    batch_size: int = 256
    base_lr: float = 0.1
    min_lr: float = 1e-4
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    weight_decay_end: float = 1e-5
    loss: LossName = "cross_entropy"
    label_smoothing: float = 0.1
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    distill: Distill = field(default_factory=Distill)
    clip_norm: float = 0.0
    accumulate: int = 1
    freeze: tuple[str, ...] = ()
    residual_start: bool = False
    ema_decay: float = 0.9995
    input_size: int = 224
    progressive: tuple[Phase, ...] = ()
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    interpolation: tuple[Interpolation, ...] = ("bilinear",)
    augment: Augment = field(default_factory=Augment)
    mix: Mix = field(default_factory=Mix)
    eval_crop: float = 0.875
    eval_interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    eval_every: int = 1
    device: str = "auto"
    amp: Amp = "auto"
    channels_last: bool = True
    sync_bn: bool = True
    branch_mode: BranchMode = "auto"
    num_workers: int = 4
    on_bad_image: Literal["error", "skip"] = "error"
    seed: int = 0
    checkpoint_every: str = "1000s"
    keep_checkpoints: int = 2
    max_skipped_steps: int = 10
    weights_suffix: Literal[".safetensors", ".pt"] = ".safetensors"

    def __post_init__(self) -> None:
        if isinstance(self.model, str):
            get_variant(self.model)
        if self.model is None and self.init is None:
            raise ConfigError("model=None takes the network of init, and init is None; set one of them")
        for name in ("epochs", "batch_size", "input_size", "accumulate", "eval_every", "keep_checkpoints"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("min_lr", "warmup_epochs", "weight_decay", "weight_decay_end", "clip_norm"):
            _require(self, name, 0 <= getattr(self, name) < float("inf"), "0 or more")
        for name in ("num_workers", "seed", "max_skipped_steps"):
            _require(self, name, getattr(self, name) >= 0, "0 or more")
        Interval.parse(self.checkpoint_every)  # refuses what it cannot read
        for name in ("momentum", "label_smoothing", "ema_decay"):
            _require(self, name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        _require(self, "flip", 0 <= self.flip <= 1, "in [0, 1]")
        _require(self, "base_lr", 0 < self.base_lr < float("inf"), "above 0")
        _require(self, "warmup_epochs", self.warmup_epochs <= self.epochs, f"up to epochs={self.epochs}")
        low, high = self.crop_scale
        _require(self, "crop_scale", 0 < low <= high <= 1, "two rising shares in (0, 1]")
        low, high = self.crop_ratio
        _require(self, "crop_ratio", 0 < low <= high, "two rising ratios above 0")
        _require(self, "interpolation", bool(self.interpolation), "at least one filter")
        fits = self.accumulate == 1 or 2 * self.accumulate <= self.batch_size
        _require(self, "accumulate", fits, f"up to half of batch_size={self.batch_size}: two images a part")
        if self.freeze and self.init is None:
            raise ConfigError(f"freeze={','.join(self.freeze)} would keep random weights; set init as well")
        self._check_choices()
        self._check_class_weights()
        self._check_phases()
        if len(self.mean) != 3:
            raise ConfigError(f"mean and std need 3 values, images are read as RGB; got {len(self.mean)}")
        self.input_spec()  # refuses the rest

    def _check_choices(self) -> None:
        for name, choices in CHOICES.items():
            _require(self, name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        known = get_args(Interpolation)
        _require(self, "interpolation", set(self.interpolation) <= set(known), f"among {', '.join(known)}")

    def _check_class_weights(self) -> None:
        weights = self.class_weights
        known = weights in ("none", "balanced") or (
            isinstance(weights, tuple) and all(0 <= w < float("inf") for w in weights) and any(weights)
        )
        _require(self, "class_weights", known, "none, balanced, or one number a class, 0 or more")

    def _check_phases(self) -> None:
        ends = [phase.until for phase in self.progressive]
        _require(self, "progressive", ends == sorted(set(ends)), "phases whose `until` rises")
        fits = all(phase.size <= self.input_size for phase in self.progressive)
        _require(self, "progressive", fits, f"sizes up to input_size={self.input_size} (or progressive=[])")
        lasts = [self.last_epoch(phase) for phase in self.progressive]
        for before, last, phase in zip([0, *lasts], lasts, self.progressive, strict=False):
            if last <= before or last >= self.epochs:
                raise ConfigError(
                    f"with epochs={self.epochs} a phase of progressive has no epoch: the one until "
                    f"{phase.until:.3g} would be epochs {before + 1} to {last}, or leave none after it; use "
                    "more epochs, or progressive=[]"
                )

    def last_epoch(self, phase: Phase) -> int:
        """Number of epochs that are over when the phase is."""
        return round(phase.until * self.epochs)

    def input_spec(self) -> InputSpec:
        """How the trained network wants its images."""
        return InputSpec(
            size=self.input_size,
            crop=self.eval_crop,
            interpolation=self.eval_interpolation,
            mean=self.mean,
            std=self.std,
        )

    def images_at(self, epoch: int) -> EpochImages:
        """Size and strength of epoch 0, 1, …

        >>> config = TrainConfig(epochs=300, progressive=(Phase(until=37 / 300, size=160),))
        >>> [config.images_at(epoch).size for epoch in (0, 36, 37, 299)]
        [160, 160, 224, 224]
        """
        for phase in self.progressive:
            if epoch < self.last_epoch(phase):
                return EpochImages(size=phase.size, strength=phase.strength)
        return EpochImages(size=self.input_size, strength=1.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; a published variant by its name, another as its fields."""
        values = dataclasses.asdict(self)
        if isinstance(self.model, Variant):
            published = VARIANTS.get(self.model.name) == self.model
            values["model"] = self.model.name if published else self.model.to_dict()
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The way back; a field left out has its default.

        Raises:
            ConfigError: on an unknown field or a value of another type.

        >>> TrainConfig.from_dict({"epochs": 10}) == TrainConfig(epochs=10)
        True
        """
        return cls(**converted(cls, values))


def _require(config: TrainConfig, name: str, holds: bool, wanted: str) -> None:
    require(name, holds, wanted, getattr(config, name))


CHOICES = {
    "amp": get_args(Amp),
    "branch_mode": get_args(BranchMode),
    "on_bad_image": ("error", "skip"),
    "weights_suffix": (".safetensors", ".pt"),
    "eval_interpolation": get_args(Interpolation),
    "loss": get_args(LossName),
}


def override(config: TrainConfig, settings: Iterable[str]) -> TrainConfig:
    """`config` with fields replaced, each setting a text `field=value`, or `group.field=value`.

    Values are plain words and numbers, lists with commas, or JSON; `none` where a field may be None.

    Raises:
        ConfigError: on an unknown field (with the nearest known one) or a value of the wrong type or range.

    >>> override(TrainConfig(), ["epochs=10", "interpolation=bilinear,bicubic"]).interpolation
    ('bilinear', 'bicubic')
    >>> override(TrainConfig(), ["mix.mixup=0.2", "mix.cutmix=1"]).mix
    Mix(mixup=0.2, cutmix=1.0, probability=1.0)
    """
    return changed(config, settings)
