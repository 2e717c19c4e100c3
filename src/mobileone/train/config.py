"""What a training run depends on, as one frozen dataclass that reads from text. Imports no torch."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mobileone.errors import ConfigError
from mobileone.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec, Interpolation
from mobileone.train.interval import Interval
from mobileone.variants import VARIANTS, BranchMode, Variant, get_variant

Amp = Literal["auto", "off", "bf16", "fp16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """An early part of the training, at another size and strength.

    Attributes:
        until: where it ends, as a share of all epochs, in (0, 1).
        size: side of the training images, pixels.
        auto_augment: strength of AutoAugment, 0 to 1.
    """

    until: float
    size: int
    auto_augment: float = 0.0


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
        label_smoothing: share of the target spread over all classes, in [0, 1).
        residual_start: whether fresh units start close to the identity (see `start_residual_`); the paper
            does not, short runs need it.
        ema_decay: of the averaged weights, in [0, 1); 0 is no averaging.
        input_size: side of the square images, pixels, in the last phase and in evaluation.
        progressive: earlier phases of smaller images, in order.
        crop_scale: area of the random crop, as a share of the image: smallest and largest.
        crop_ratio: width / height of the random crop: smallest and largest.
        flip: probability of a horizontal mirror image.
        interpolation: resize filters of training; one is drawn for each image.
        auto_augment: strength of AutoAugment in the last phase, 0 (off) to 1.
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
    label_smoothing: float = 0.1
    residual_start: bool = False
    ema_decay: float = 0.9995
    input_size: int = 224
    progressive: tuple[Phase, ...] = ()
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    interpolation: tuple[Interpolation, ...] = ("bilinear",)
    auto_augment: float = 0.0
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
        for name in ("epochs", "batch_size", "input_size", "eval_every", "keep_checkpoints"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("min_lr", "warmup_epochs", "weight_decay", "weight_decay_end"):
            _require(self, name, 0 <= getattr(self, name) < float("inf"), "0 or more")
        for name in ("num_workers", "seed", "max_skipped_steps"):
            _require(self, name, getattr(self, name) >= 0, "0 or more")
        Interval.parse(self.checkpoint_every)  # refuses what it cannot read
        for name in ("momentum", "label_smoothing", "ema_decay"):
            _require(self, name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        for name in ("flip", "auto_augment"):
            _require(self, name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        _require(self, "base_lr", 0 < self.base_lr < float("inf"), "above 0")
        _require(self, "warmup_epochs", self.warmup_epochs <= self.epochs, f"up to epochs={self.epochs}")
        low, high = self.crop_scale
        _require(self, "crop_scale", 0 < low <= high <= 1, "two rising shares in (0, 1]")
        low, high = self.crop_ratio
        _require(self, "crop_ratio", 0 < low <= high, "two rising ratios above 0")
        _require(self, "interpolation", bool(self.interpolation), "at least one filter")
        self._check_choices()
        self._check_phases()
        if len(self.mean) != 3:
            raise ConfigError(f"mean and std need 3 values, images are read as RGB; got {len(self.mean)}")
        self.input_spec()  # refuses the rest

    def _check_choices(self) -> None:
        for name in ("amp", "branch_mode", "on_bad_image", "weights_suffix", "eval_interpolation"):
            choices = get_args(_hints()[name])
            _require(self, name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        known = get_args(Interpolation)
        _require(self, "interpolation", set(self.interpolation) <= set(known), f"among {', '.join(known)}")

    def _check_phases(self) -> None:
        ends = [phase.until for phase in self.progressive]
        rising = ends == sorted(set(ends)) and all(0 < end < 1 for end in ends)
        _require(self, "progressive", rising, "phases whose `until` rises within (0, 1)")
        sizes = [phase.size for phase in self.progressive]
        fits = all(1 <= size <= self.input_size for size in sizes)
        _require(self, "progressive", fits, f"sizes up to input_size={self.input_size} (or progressive=[])")
        strengths = all(0 <= phase.auto_augment <= 1 for phase in self.progressive)
        _require(self, "progressive", strengths, "auto_augment strengths in [0, 1]")

    def input_spec(self) -> InputSpec:
        """How the trained network wants its images."""
        return InputSpec(
            size=self.input_size,
            crop=self.eval_crop,
            interpolation=self.eval_interpolation,
            mean=self.mean,
            std=self.std,
        )

    def phase_at(self, epoch: int) -> Phase:
        """Size and strength of epoch 0, 1, …

        >>> config = TrainConfig(epochs=300, progressive=(Phase(until=37 / 300, size=160),))
        >>> [config.phase_at(epoch).size for epoch in (0, 36, 37, 299)]
        [160, 160, 224, 224]
        """
        for phase in self.progressive:
            if epoch < round(phase.until * self.epochs):
                return phase
        return Phase(until=1.0, size=self.input_size, auto_augment=self.auto_augment)

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
        return cls(**{_known_field(name): _convert(name, value) for name, value in values.items()})


def _require(config: TrainConfig, name: str, holds: bool, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"{name} must be {wanted}, got {getattr(config, name)!r}")


@functools.cache
def _hints() -> dict[str, Any]:
    return get_type_hints(TrainConfig)


def _known_field(name: str) -> str:
    if name in _hints():
        return name
    near = difflib.get_close_matches(name, _hints(), n=1)
    hint = f"; did you mean {near[0]}?" if near else f" (known: {', '.join(_hints())})"
    raise ConfigError(f"unknown training field {name!r}{hint}")


def override(config: TrainConfig, settings: Iterable[str]) -> TrainConfig:
    """`config` with fields replaced, each setting a text `field=value`.

    Values are plain words and numbers, lists with commas, or JSON; `none` where a field may be None.

    Raises:
        ConfigError: on an unknown field (with the nearest known one) or a value of the wrong type or range.

    >>> override(TrainConfig(), ["epochs=10", "interpolation=bilinear,bicubic"]).interpolation
    ('bilinear', 'bicubic')
    """
    changes = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"a setting must be field=value, got {setting!r}")
        name = _known_field(name.strip())
        changes[name] = _convert(name, _parse(_hints()[name], text.strip()))
    return dataclasses.replace(config, **changes)


def _parse(hint: Any, text: str) -> Any:
    """Text to a JSON value; words stay text."""
    if get_origin(hint) is tuple and not text.startswith("["):
        return [_parse(Any, part.strip()) for part in text.split(",")] if text else []
    if (hint is str or str in get_args(hint)) and not text.startswith("{"):
        return None if text.lower() == "none" and hint is not str else text
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for read in (json.loads, float):
        with contextlib.suppress(ValueError):
            return read(text)
    return text


def _convert(name: str, value: Any) -> Any:
    """A JSON value as the type of field `name`."""
    try:
        return _coerce(_hints()[name], value)
    except TypeError as error:
        raise ConfigError(f"{name} must be {error}, got {value!r}") from error


def _coerce(hint: Any, value: Any) -> Any:
    """`value` as `hint`; a TypeError says what was wanted."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in args:
            raise TypeError(f"one of {', '.join(args)}")
        return value
    if origin in (Union, UnionType):
        return _coerce_union(args, value)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"a list, each item {_words(args[0])}")
        if args[-1] is not Ellipsis and len(value) != len(args):
            raise TypeError(f"{len(args)} values, each {_words(args[0])}")
        return tuple(_coerce(args[0], item) for item in value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _coerce_dataclass(hint, value)
    accepted = (int, float) if hint is float else (hint,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise TypeError(_words(hint))
    return hint(value)


def _coerce_union(hints: tuple[Any, ...], value: Any) -> Any:
    for hint in hints:
        if hint is type(None) and value is None:
            return None
        try:
            if hint is not type(None):
                return _coerce(hint, value)
        except TypeError:
            continue
    raise TypeError(" or ".join(_words(hint) for hint in hints))


def _coerce_dataclass(kind: type[Any], value: Any) -> Any:
    if isinstance(value, kind):
        return value
    names = [field.name for field in dataclasses.fields(kind)]
    if isinstance(value, list | tuple) and len(value) <= len(names):
        value = dict(zip(names, value, strict=False))
    if not isinstance(value, Mapping) or not set(value) <= set(names):
        raise TypeError(f"an object with {', '.join(names)}")
    hints = get_type_hints(kind)
    return kind(**{name: _coerce(hints[name], item) for name, item in value.items()})


def _words(hint: Any) -> str:
    if hint is type(None):
        return "none"
    known = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return known.get(hint, getattr(hint, "__name__", str(hint)))
