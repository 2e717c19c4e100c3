"""Validation images that are taken from the training data. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mobileone.errors import ConfigError
from mobileone.training.config.rules import require, require_choice

SplitBy = Literal["group", "looks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """Which images of `data` are for validation, where nothing says it: a share of them, or a fold.

    Attributes:
        share: of the images, in (0, 1); 0 is none.
        folds: parts that the images are divided into, 2 or more; 0 is none.
        fold: which of them is for validation, 1 … folds; 0, with folds, is all of them, one after the other
            (`fit_folds`).
        by: what is never divided: `"group"`, the groups of a list's column, where it has one, or `"looks"`,
            besides these images of the same photo.
        seed: of the division.

    Raises:
        ConfigError: on a value out of range.
    """

    share: float = 0.0
    folds: int = 0
    fold: int = 0
    by: SplitBy = "group"
    seed: int = 0

    def __post_init__(self) -> None:
        require("hold_out.share (split)", 0 <= self.share < 1, "in (0, 1), or 0 for none", self.share)
        fits = self.folds == 0 or self.folds >= 2
        require("hold_out.folds (folds)", fits, "2 or more, or 0 for none", self.folds)
        if self.share and self.folds:
            raise ConfigError(f"split={self.share} and folds={self.folds} both hold images out; choose one")
        if self.fold and not self.folds:
            raise ConfigError(f"fold={self.fold} says which fold, not of how many; set folds as well")
        require("hold_out.fold (fold)", 0 <= self.fold <= self.folds, f"in 1..{self.folds}", self.fold)
        require_choice("hold_out.by (split_by)", self.by, get_args(SplitBy))
        if self.by != "group" and not self.is_on:
            raise ConfigError(
                f"split_by={self.by} needs something held out; pass split=0.2 or folds, or leave it out"
            )
        require("hold_out.seed", 0 <= self.seed < 2**32, "in 0..4294967295", self.seed)

    @property
    def is_on(self) -> bool:
        """Whether anything is held out."""
        return bool(self.share or self.folds)

    @property
    def held_share(self) -> float:
        """Of all images, as nearly as groups allow.

        >>> HoldOut(share=0.3).held_share, HoldOut(folds=4).held_share, HoldOut().held_share
        (0.3, 0.25, 0.0)
        """
        return 1 / self.folds if self.folds else self.share
