"""What is done to training images: crop, mirror, policy, and smaller ones first. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mobileone.input_spec import Interpolation, Size, checked_size
from mobileone.training.config.rules import require, require_choice

PolicyName = Literal["none", "auto", "rand", "trivial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """An early part of the training, at another size and strength.

    Attributes:
        until: where it ends, as a share of all epochs, in (0, 1]; 1 is no later phase, only evaluation is at
            the input spec's size (objects look larger in random crops: arXiv 1906.06423).
        size: of the training images: side of a square, or (height, width), pixels.
        strength: factor on the magnitudes of `augment.policy`, in (0, 1].
    """

    until: float
    size: Size
    strength: float = 1.0

    def __post_init__(self) -> None:
        require("progressive's until", 0 < self.until <= 1, "in (0, 1]", self.until)
        object.__setattr__(self, "size", checked_size(self.size, name="progressive's size"))
        require("progressive's strength", 0 < self.strength <= 1, "in (0, 1]", self.strength)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """What is done to a training image.

    Attributes:
        crop_scale: area of the random crop, as a share of the image: smallest and largest.
        crop_ratio: width / height of the random crop over that of the network's input: smallest and largest.
        flip: probability of a horizontal mirror image.
        interpolation: resize filters; one is drawn for each image.
        policy: `"auto"` (AutoAugment's ImageNet policy), `"rand"` (RandAugment), `"trivial"`
            (TrivialAugment) or `"none"`.
        strength: factor on the policy's magnitudes, in (0, 1].
        num_operations: of RandAugment, for each image.
        magnitude: of RandAugment, 0 to 30.
        erasing: probability of random erasing.

    Raises:
        ConfigError: on a value out of range.
    """

    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    interpolation: tuple[Interpolation, ...] = ("bilinear",)
    policy: PolicyName = "none"
    strength: float = 1.0
    num_operations: int = 2
    magnitude: float = 9.0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        require("augment.crop_scale", 0 < low <= high <= 1, "two rising shares in (0, 1]", self.crop_scale)
        low, high = self.crop_ratio
        require("augment.crop_ratio", 0 < low <= high, "two rising ratios above 0", self.crop_ratio)
        require("augment.flip", 0 <= self.flip <= 1, "in [0, 1]", self.flip)
        filters = self.interpolation
        require("augment.interpolation", bool(filters), "at least one filter", filters)
        known = get_args(Interpolation)
        require("augment.interpolation", set(filters) <= set(known), f"among {', '.join(known)}", filters)
        require_choice("augment.policy", self.policy, get_args(PolicyName))
        require("augment.strength", 0 < self.strength <= 1, "in (0, 1]", self.strength)
        require("augment.num_operations", self.num_operations >= 1, "at least 1", self.num_operations)
        require("augment.magnitude", 0 <= self.magnitude <= 30, "in [0, 30]", self.magnitude)
        require("augment.erasing", 0 <= self.erasing <= 1, "in [0, 1]", self.erasing)
