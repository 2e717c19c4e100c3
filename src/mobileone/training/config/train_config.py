"""What a training run depends on, as one frozen dataclass that reads from text. Imports no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

from mobileone.errors import ConfigError
from mobileone.evaluation.metric_names import CLASS_METRICS, METRICS, is_selectable
from mobileone.input_spec import InputSpec, Size, sides, size_text
from mobileone.outside_text import require_unicode
from mobileone.task import Task, checked_task
from mobileone.training.config.augmentation import Augment, Phase
from mobileone.training.config.config_text import changed, converted, flattened, replaced
from mobileone.training.config.hold_out import HoldOut
from mobileone.training.config.objective import Distill, LossName, Mix, Objective
from mobileone.training.config.optimization import Optim
from mobileone.training.config.probe import Probe
from mobileone.training.config.resources import Compute, Loading, Saving
from mobileone.training.config.rules import require, require_choice
from mobileone.training.config.short_names import SHORT_NAMES, grouped
from mobileone.variants import VARIANTS, Form, Variant, get_variant

CONFIG_VERSION = 2
"""Of what `TrainConfig.to_dict` gives. In version 1 there were few groups; `from_dict` reads it as well."""


OF_STEPS = (
    "freeze",
    "residual_start",
    "eval_every",
    "patience",
    "max_skipped_steps",
    "progressive",
    "augment",
    "mix",
    "distill",
    "optim",
)
"""Fields that a probe has no use for."""


class EpochImages(NamedTuple):
    """The training images of an epoch: size in pixels, and factor on the policy's magnitudes."""

    size: Size
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything a training run depends on, besides the number of ranks.

    Attributes:
        model: variant name, or a `Variant`; None takes the network of `init`.
        init: weights to start from, anything `load_model` reads; None starts at random.
        init_weights_key: which weights of a file that has several, as of `load_model`.
        form: of the network that is trained: `"train"`, with branches and BatchNorm (made anew where `init`
            is fused), or `"inference"`, the chain of convolutions that `init` is or is fused to, without
            BatchNorm: steps are several times as fast, and nothing is forgotten before it is learnt.
        data: `"digits"`, a folder with `train/<class>/` and `val/<class>/`, a list of images, or shards (see
            `open_data`).
        task: `"singlelabel"`, one class an image, or `"multilabel"`, any number of labels.
        val_data: likewise, for validation; None is the validation part of `data`.
        hold_out: which images of `data` are for validation, where it has no such part.
        exclude: a file that names images to leave out, of either (see `read_exclusions`); None takes all.
        epochs: passes over the training images.
        batch_size: images a step on one rank.
        freeze: modules that stay as they are, by name (`stem`, `stages.0`, `head` …), with everything in
            them; (`stem`, `stages`) leaves a linear probe.
        residual_start: whether fresh units start close to the identity (see `start_residual_`); the paper
            does not, short runs need it.
        seed: of the weights, the order and the augmentation.
        eval_every: epochs between evaluations; the last epoch is always evaluated.
        patience: epochs without a better figure (`saving.select`) after which the run ends; 0 is never.
        max_skipped_steps: steps of the whole run that may be skipped because the loss or a gradient was not
            finite; one more stops the run.
        input_spec: how the trained network wants its images: `size` is that of the last phase and of
            evaluation, the rest is evaluation's.
        progressive: earlier phases of smaller images, in order.
        augment: what is done to a training image.
        mix: what is done to a batch of them.
        objective: the loss of images and labels.
        distill: a teacher to learn from.
        optim: optimizer, schedule and average.
        probe: fitting the last layer at once instead of training by steps.
        compute: device, precision and layout.
        loading: the data loader.
        saving: resume files and weights.

    Raises:
        ConfigError: on a value out of range.
    """

    model: str | Variant | None = "mobileone_s0"
    init: str | None = None
    init_weights_key: str | None = None
    form: Form = "train"
    data: str = "digits"
    task: Task = "singlelabel"
    val_data: str | None = None
    hold_out: HoldOut = field(default_factory=HoldOut)
    exclude: str | None = None
    epochs: int = 300
    batch_size: int = 256
    freeze: tuple[str, ...] = ()
    residual_start: bool = False
    seed: int = 0
    eval_every: int = 1
    patience: int = 0
    max_skipped_steps: int = 10
    input_spec: InputSpec = field(default_factory=InputSpec)
    progressive: tuple[Phase, ...] = ()
    augment: Augment = field(default_factory=Augment)
    mix: Mix = field(default_factory=Mix)
    objective: Objective = field(default_factory=Objective)
    distill: Distill = field(default_factory=Distill)
    optim: Optim = field(default_factory=Optim)
    probe: Probe = field(default_factory=Probe)
    compute: Compute = field(default_factory=Compute)
    loading: Loading = field(default_factory=Loading)
    saving: Saving = field(default_factory=Saving)

    def __post_init__(self) -> None:
        # Each group has checked itself; here is what is nobody's, and what two of them must agree on.
        if isinstance(self.model, str):
            get_variant(self.model)
        if self.model is None and self.init is None:
            raise ConfigError("model=None takes the network of init, and init is None; set one of them")
        if self.init_weights_key is not None and self.init is None:
            raise ConfigError(
                f"init_weights_key={self.init_weights_key!r} chooses within init, and init is None; set it"
            )
        if self.freeze and self.init is None:
            raise ConfigError(f"freeze={','.join(self.freeze)} would keep random weights; set init as well")
        require_choice("form", self.form, get_args(Form))
        if self.form == "inference" and self.init is None:
            raise ConfigError("form=inference has no BatchNorm to train from nothing with; set init as well")
        for name in ("data", "val_data", "exclude", "init"):  # config.json holds them
            require_unicode(getattr(self, name) or "", what=name)
        for name in ("epochs", "batch_size", "eval_every"):
            require(name, getattr(self, name) >= 1, "at least 1", getattr(self, name))
        for name in ("seed", "max_skipped_steps", "patience"):
            require(name, getattr(self, name) >= 0, "0 or more", getattr(self, name))
        # torch takes 64 bits, and counts are added.
        require("seed", self.seed < 2**63, "below 2**63", self.seed)
        checked_task(self.task)
        if self.hold_out.is_on and self.val_data is not None:
            raise ConfigError(
                f"val_data={self.val_data} is for validation, so nothing of data is held out; leave one "
                "of them out"
            )
        if self.task == "multilabel" and self.objective.loss == "cross_entropy":
            raise ConfigError(
                "loss=cross_entropy lets one class exclude the others; with task=multilabel use bce, "
                "asymmetric or auto"
            )
        known = (*METRICS[self.task], "loss", *(f"{kind}/CLASS" for kind in CLASS_METRICS[self.task]))
        wanted = f"auto or, with task={self.task}, one of {', '.join(known)}"
        require("saving.select", is_selectable(self.select, self.task), wanted, self.saving.select)
        warmup, parts = self.optim.warmup_epochs, self.compute.accumulate
        require("optim.warmup_epochs", warmup <= self.epochs, f"up to epochs={self.epochs}", warmup)
        if self.cooldown_epoch is not None:
            wanted = f"up to epoch {self.cooldown_epoch} of {self.epochs}, where the rate begins to fall"
            require("optim.warmup_epochs", warmup <= self.cooldown_epoch, wanted, warmup)
        fits = parts == 1 or 2 * parts <= self.batch_size
        wanted = f"up to half of batch_size={self.batch_size}: two images a part"
        require("compute.accumulate", fits, wanted, parts)
        if self.input_spec.in_chans != 3:
            raise ConfigError(
                f"mean and std need 3 values, images are read as RGB; got {self.input_spec.in_chans}"
            )
        compiles = self.distill.features > 0 and self.compute.compile
        require("compute.compile", not compiles, "off with distill.features above 0", self.compute.compile)
        self._check_phases()
        self._check_probe()

    def _check_phases(self) -> None:
        phases, largest = self.progressive, self.input_spec.size
        ends = [phase.until for phase in phases]
        require("progressive", ends == sorted(set(ends)), "phases whose `until` rises", phases)
        fits = all(a <= b for phase in phases for a, b in zip(sides(phase.size), sides(largest), strict=True))
        wanted = f"sizes up to input_spec.size={size_text(largest)} (or progressive=[])"
        require("progressive", fits, wanted, phases)
        lasts = [self.last_epoch(phase) for phase in phases]
        for before, last, phase in zip([0, *lasts], lasts, phases, strict=False):
            if last <= before or (last >= self.epochs and phase.until < 1):
                raise ConfigError(
                    f"with epochs={self.epochs} a phase of progressive has no epoch: the one until "
                    f"{phase.until:.3g} would be epochs {before + 1} to {last}, or leave none after it; use "
                    "more epochs, or progressive=[]"
                )

    @property
    def loss(self) -> LossName:
        """The loss that is meant, `auto` resolved.

        >>> TrainConfig().loss, TrainConfig(task="multilabel").loss
        ('cross_entropy', 'bce')
        """
        if self.objective.loss != "auto":
            return self.objective.loss
        return "cross_entropy" if self.task == "singlelabel" else "bce"

    @property
    def select(self) -> str:
        """The figure that the best epoch is chosen by, `auto` resolved.

        >>> TrainConfig().select, TrainConfig(task="multilabel").select
        ('acc1', 'map')
        """
        return METRICS[self.task][0] if self.saving.select == "auto" else self.saving.select

    def _check_probe(self) -> None:
        """Refuse what a probe would not look at."""
        if self.probe.views != "none" and self.init is None:
            raise ConfigError("a probe needs the features of trained weights; set init as well")
        if not self.probe.is_all:
            return
        require("objective.loss", self.loss != "asymmetric", "convex with a probe (bce, say)", self.loss)
        shuffles = self.loading.sampling == "shuffle"
        wanted = "shuffle with a probe, which takes every image once (class_weights does the like)"
        require("loading.sampling", shuffles, wanted, self.loading.sampling)
        require("epochs", self.epochs == 1, "1 with a probe, which fits at once", self.epochs)
        defaults = {spec.name: spec for spec in dataclasses.fields(self)}
        for name in OF_STEPS:
            spec, value = defaults[name], getattr(self, name)
            factory = spec.default_factory
            usual = spec.default if factory is dataclasses.MISSING else factory()
            if value != usual:
                inner = _first_difference(value, usual)
                raise ConfigError(
                    f"{name}{inner} is of training by steps, and a probe fits at once; leave it as it is, or "
                    "train by steps (probe.views=none)"
                )

    def last_epoch(self, phase: Phase) -> int:
        """Number of epochs that are over when the phase is."""
        return round(phase.until * self.epochs)

    @property
    def cooldown_epoch(self) -> int | None:
        """The epoch, 0 for the first, from which the rate falls; None without `optim.schedule=wsd`.

        >>> TrainConfig(epochs=10, optim=Optim(schedule="wsd")).cooldown_epoch
        8
        """
        if self.optim.schedule != "wsd":
            return None
        return self.epochs - max(round(self.optim.cooldown * self.epochs), 1)

    def images_at(self, epoch: int) -> EpochImages:
        """Size and strength of epoch 0, 1, …

        >>> config = TrainConfig(epochs=300, progressive=(Phase(until=37 / 300, size=160),))
        >>> [config.images_at(epoch).size for epoch in (0, 36, 37, 299)]
        [160, 160, 224, 224]
        """
        for phase in self.progressive:
            if epoch < self.last_epoch(phase):
                return EpochImages(size=phase.size, strength=phase.strength)
        return EpochImages(size=self.input_spec.size, strength=1.0)

    def is_tested(self, epoch: int) -> bool:
        """Whether the network is evaluated after epoch 0, 1, …

        >>> [TrainConfig(epochs=4, eval_every=3).is_tested(epoch) for epoch in range(4)]
        [False, False, True, True]
        """
        return (epoch + 1) % self.eval_every == 0 or epoch + 1 == self.epochs

    def with_values(self, values: Mapping[str, Any]) -> TrainConfig:
        """This configuration with fields replaced, by full name (`optim.momentum`) or short (`momentum`).

        Raises:
            ConfigError: on an unknown field or a value out of range.

        >>> TrainConfig().with_values({"epochs": 3, "momentum": 0.5}).optim.momentum
        0.5
        """
        return replaced(self, {SHORT_NAMES.get(name, name): value for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; a published variant by its name, another as its fields."""
        values = dataclasses.asdict(self)
        if isinstance(self.model, Variant):
            published = VARIANTS.get(self.model.name) == self.model
            values["model"] = self.model.name if published else self.model.to_dict()
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    def settings(self) -> dict[str, Any]:
        """The same by full name, one a line for people: `optim.momentum`.

        >>> TrainConfig().settings()["optim.momentum"]
        0.9
        """
        return flattened(self, self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, version: int = CONFIG_VERSION) -> TrainConfig:
        """A configuration from what `to_dict` gave; a field left out has its default.

        Args:
            values: plain values.
            version: of the package's format; 1 or `CONFIG_VERSION`.

        Raises:
            ConfigError: on an unknown field, a value of another type, or a version to come.

        >>> TrainConfig.from_dict({"optim": {"base_lr": 0.2}}).optim.base_lr
        0.2
        >>> TrainConfig.from_dict({"base_lr": 0.2}, version=1).optim.base_lr
        0.2
        """
        if not 1 <= version <= CONFIG_VERSION:
            raise ConfigError(
                f"a training configuration of version {version} cannot be read, only 1 to {CONFIG_VERSION}; "
                "update mobileone"
            )
        return cls(**converted(cls, grouped(values) if version == 1 else values))


def _first_difference(value: object, usual: object) -> str:
    """Of two groups the first field that is not the same, and its value; of a plain field its value."""
    if dataclasses.is_dataclass(value):
        for field_ in dataclasses.fields(value):
            inner = getattr(value, field_.name)
            if inner != getattr(usual, field_.name):
                return f".{field_.name}={inner!r}"
    return f"={value!r}"


def override(
    config: TrainConfig, settings: Iterable[str], *, beside: Mapping[str, Any] | None = None
) -> TrainConfig:
    """`config` with fields replaced, each setting a text `field=value`, or `group.field=value`.

    Values are plain words and numbers, lists with commas, or JSON; `none` where a field may be None.

    Args:
        config: to begin with.
        settings: the texts.
        beside: values by full name, which are checked together with them; a setting wins.

    Raises:
        ConfigError: on an unknown field (with the nearest known one) or a value of the wrong type or range.

    >>> override(TrainConfig(), ["epochs=10", "interpolation=bilinear,bicubic"]).augment.interpolation
    ('bilinear', 'bicubic')
    >>> override(TrainConfig(), ["mix.mixup=0.2", "mix.cutmix=1"]).mix
    Mix(mixup=0.2, cutmix=1.0, probability=1.0)
    """
    return changed(config, settings, short_names=SHORT_NAMES, beside=beside or {})
