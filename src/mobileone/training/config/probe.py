"""A classifier that is fitted at once to features that stay as they are. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mobileone.training.config.rules import is_finite_from, require, require_choice

Views = Literal["none", "plain", "mirrored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Fitting the last layer alone, as a convex problem, instead of training by steps or before it.

    The features of every training image are computed once, by the network as it is used, from the image as
    it is used. The loss is the run's, with an L2 penalty on the weights.

    Attributes:
        views: whose features: `"none"` is no probe, `"plain"` the images as in evaluation, `"mirrored"` these
            and their mirror images.
        strengths: penalties to choose from, falling: factors of half the squared weights, for features of
            variance 1 on average. Of a single one nothing has to be chosen.
        held_out: share of each class's training images that decides between them, in (0, 1); then the fit is
            made anew on all.
        then_train: whether the whole network is trained by steps afterwards, from that layer on (arXiv
            2202.10054). Else the fit is all there is.

    Raises:
        ConfigError: on a value out of range.
    """

    views: Views = "none"
    strengths: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4)
    held_out: float = 0.2
    then_train: bool = False

    def __post_init__(self) -> None:
        require_choice("probe.views", self.views, get_args(Views))
        given = self.strengths
        falling = bool(given) and list(given) == sorted(set(given), reverse=True)
        fits = falling and all(is_finite_from(value, 0) for value in given) and given[-1] > 0
        require("probe.strengths", fits, "falling numbers above 0", given)
        require("probe.held_out", 0 < self.held_out < 1, "in (0, 1)", self.held_out)

    @property
    def is_all(self) -> bool:
        """Whether the run is a probe and nothing else."""
        return self.views != "none" and not self.then_train

    @property
    def comes_first(self) -> bool:
        """Whether the run begins with one."""
        return self.views != "none" and self.then_train
