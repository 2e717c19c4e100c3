"""Groups of a run's settings, each off by default and checked when made. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mobileone.errors import ConfigError

PolicyName = Literal["none", "auto", "rand", "trivial"]
LossName = Literal["cross_entropy", "bce"]


def require(field: str, holds: bool, wanted: str, got: object) -> None:
    """Refuse a value.

    Raises:
        ConfigError: unless it holds.
    """
    if not holds:
        raise ConfigError(f"{field} must be {wanted}, got {got!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """An early part of the training, at another size and strength.

    Attributes:
        until: where it ends, as a share of all epochs, in (0, 1).
        size: side of the training images, pixels.
        strength: factor on the magnitudes of `augment.policy`, in (0, 1].
    """

    until: float
    size: int
    strength: float = 1.0

    def __post_init__(self) -> None:
        require("progressive's until", 0 < self.until < 1, "in (0, 1)", self.until)
        require("progressive's size", self.size >= 1, "at least 1", self.size)
        require("progressive's strength", 0 < self.strength <= 1, "in (0, 1]", self.strength)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """What is done to a training image beyond crop and mirror.

    Attributes:
        policy: `"auto"` (AutoAugment's ImageNet policy), `"rand"` (RandAugment), `"trivial"`
            (TrivialAugment) or `"none"`.
        strength: factor on the policy's magnitudes, in (0, 1].
        num_operations: of RandAugment, for each image.
        magnitude: of RandAugment, 0 to 30.
        erasing: probability of random erasing.
    """

    policy: PolicyName = "none"
    strength: float = 1.0
    num_operations: int = 2
    magnitude: float = 9.0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        choices = get_args(PolicyName)
        require("augment.policy", self.policy in choices, f"one of {', '.join(choices)}", self.policy)
        require("augment.strength", 0 < self.strength <= 1, "in (0, 1]", self.strength)
        require("augment.num_operations", self.num_operations >= 1, "at least 1", self.num_operations)
        require("augment.magnitude", 0 <= self.magnitude <= 30, "in [0, 30]", self.magnitude)
        require("augment.erasing", 0 <= self.erasing <= 1, "in [0, 1]", self.erasing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Mixing the images of a batch with one another.

    Attributes:
        mixup: alpha of mixup's Beta(alpha, alpha); 0 is off.
        cutmix: alpha of cutmix's; 0 is off. With both, every batch gets one of them, with equal chance.
        probability: that a batch is mixed at all.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            require(f"mix.{name}", 0 <= value < float("inf"), "0 or more", value)
        require("mix.probability", 0 < self.probability <= 1, "in (0, 1]", self.probability)

    @property
    def is_on(self) -> bool:
        """Whether anything is mixed."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Distill:
    """Learning from a teacher (arXiv 1503.02531).

    Attributes:
        teacher: anything `load_classifier` reads, a model or an exported file; None is no teacher, or the
            module that is handed to `fit`.
        weight: share of the teacher in the loss, in (0, 1].
        temperature: both softmaxes are taken of logits divided by it, above 0.
    """

    teacher: str | None = None
    weight: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require("distill.weight", 0 < self.weight <= 1, "in (0, 1]", self.weight)
        fits = 0 < self.temperature < float("inf")
        require("distill.temperature", fits, "above 0", self.temperature)
