"""What training minimises: the loss of the labels, mixed images, a teacher. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from mobileone.input_spec import Size, checked_size
from mobileone.training.config.rules import is_finite_from, require, require_choice

LossName = Literal["auto", "cross_entropy", "bce", "asymmetric"]
TeacherViews = Literal["same", "plain", "mirrored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The loss of images and labels.

    Attributes:
        loss: `"cross_entropy"`; `"bce"`, a binary cross-entropy for every class (see docs/training.md);
            `"asymmetric"`, the same with less weight on what is easily seen not to be there (arXiv
            2009.14119); or `"auto"`: cross-entropy, and with several labels an image binary.
        gamma_positive: exponent of the asymmetric loss on labels that an image has, 0, or 1 and more (below 1
            its slope has no bound).
        gamma_negative: likewise on those that it has not.
        margin: probability up to which the asymmetric loss leaves out a label that an image has not, in
            [0, 1).
        label_smoothing: share of the target spread over all classes, in [0, 1).
        class_weights: factor of each class in the loss: `"none"`, `"balanced"` (so that every class counts
            the same, however many images it has), or one number a class.

    Raises:
        ConfigError: on a value out of range.
    """

    loss: LossName = "auto"
    gamma_positive: float = 0.0
    gamma_negative: float = 4.0
    margin: float = 0.05
    label_smoothing: float = 0.1
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"

    def __post_init__(self) -> None:
        require_choice("objective.loss", self.loss, get_args(LossName))
        for name in ("gamma_positive", "gamma_negative"):
            value = getattr(self, name)
            fits = value == 0 or is_finite_from(value, 1)
            require(f"objective.{name}", fits, "0, or 1 and more", value)
        require("objective.margin", 0 <= self.margin < 1, "in [0, 1)", self.margin)
        smoothing, weights = self.label_smoothing, self.class_weights
        require("objective.label_smoothing", 0 <= smoothing < 1, "in [0, 1)", smoothing)
        known = weights in ("none", "balanced") or (
            isinstance(weights, tuple) and all(is_finite_from(w, 0) for w in weights) and any(weights)
        )
        wanted = "none, balanced, or one number a class, 0 or more"
        require("objective.class_weights", known, wanted, weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Mixing the images of a batch with one another.

    Attributes:
        mixup: alpha of mixup's Beta(alpha, alpha); 0 is off.
        cutmix: alpha of cutmix's; 0 is off. With both, every batch gets one of them, with equal chance.
        probability: that a batch is mixed at all.

    Raises:
        ConfigError: on a value out of range.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            require(f"mix.{name}", is_finite_from(value, 0), "0 or more", value)
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
        features: weight of a loss of features beside these two, 0 or more: which images of a batch are alike
            to the student is to be as it is to the teacher (arXiv 1907.09682).
        views: what the teacher looks at: `"same"`, in every step what the student sees; `"plain"`, every
            training image once, before the first step, as the teacher is used in evaluation, whatever the
            student sees of it later; `"mirrored"`, that and its mirror image, the mean of both logits.
        size: of the images of a teacher that looks once, pixels; None is its own.

    Raises:
        ConfigError: on a value out of range.
    """

    teacher: str | None = None
    weight: float = 0.5
    temperature: float = 1.0
    features: float = 0.0
    views: TeacherViews = "same"
    size: Size | None = None

    def __post_init__(self) -> None:
        require_choice("distill.views", self.views, get_args(TeacherViews))
        if self.size is not None:
            wanted = "none with distill.views=same, which has the size of the student's images"
            require("distill.size", self.looks_once, wanted, self.size)
            object.__setattr__(self, "size", checked_size(self.size))
        require("distill.weight", 0 < self.weight <= 1, "in (0, 1]", self.weight)
        fits = 0 < self.temperature < math.inf
        require("distill.temperature", fits, "above 0", self.temperature)
        require("distill.features", is_finite_from(self.features, 0), "0 or more", self.features)

    @property
    def looks_once(self) -> bool:
        """Whether the teacher's logits are computed before the first step, and kept."""
        return self.views != "same"
