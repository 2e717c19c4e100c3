"""How logits become an answer: calibrated probabilities, and when to give none. NumPy alone, no torch.

The rule is the same in Python, in C and in a browser, computed in float64 everywhere:

    z = logits / temperatures + biases             a length of 1 stands for every class
    p = softmax(z)                                  sigmoid(z) of a multi-label network
    sure = p[c] >= thresholds[c]                    for the likeliest class c, the first of equals
           and score(logits) >= novelty_limit       where there is a novelty score

Of a multi-label network the thresholds say which labels an image has, p[c] >= thresholds[c]; an answer is
sure unless the image is novel then.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mobileone.errors import ConfigError
from mobileone.limits import CLASSES
from mobileone.task import Task

Floats = NDArray[np.float64]
NoveltyScore = Literal["energy", "max_logit"]
Doubt = Literal["unlikely", "novel"]
"""Why an answer is not sure: its probability is below the threshold, or the image like none that is known."""

MAX_EVIDENCE = 64  # entries
MAX_TEXT = 4096  # characters
MAX_NUMBER = sys.float_info.max


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What `mobileone calibrate` found for one network, in one runtime and precision.

    Attributes:
        temperatures: logits are divided by them, above 0; one for all classes, or one a class.
        biases: added then; one for all, or one a class.
        thresholds: least probability in [0, 1] of the likeliest class that makes an answer sure, of a
            multi-label network of each label that is given; one for all, or one a class. 0 is always sure.
        novelty: what tells how familiar an image is, from its logits: `energy`, their logsumexp, or
            `max_logit`, the largest; more is more familiar. None asks nothing.
        novelty_limit: the least such score that makes an answer sure; None without `novelty`.
        evidence: what it was fitted on and what it gave, plain values by name, for people.

    Raises:
        ConfigError: on values that are none of these.

    >>> decision = Decision(temperatures=(2.0,), thresholds=(0.8,))
    >>> decision.probabilities(np.array([[4.0, 0.0], [0.0, 1.0]])).round(2)
    array([[0.88, 0.12],
           [0.38, 0.62]])
    >>> decision.sure(np.array([[4.0, 0.0], [0.0, 1.0]]))
    array([ True, False])
    """

    temperatures: tuple[float, ...] = (1.0,)
    biases: tuple[float, ...] = (0.0,)
    thresholds: tuple[float, ...] = (0.0,)
    novelty: NoveltyScore | None = None
    novelty_limit: float | None = None
    evidence: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("temperatures", "biases", "thresholds"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or not 1 <= len(values) <= CLASSES.value:
                raise ConfigError(f"{name} of a decision must be numbers, one or one a class")
            if not all(is_finite(value) for value in values):
                raise ConfigError(f"{name} of a decision must be finite numbers")
        if min(self.temperatures) <= 0:
            raise ConfigError(f"temperatures of a decision must be above 0, got {min(self.temperatures)}")
        if not all(0 <= value <= 1 for value in self.thresholds):
            raise ConfigError("thresholds of a decision must be in 0..1")
        if self.novelty not in (None, *get_args(NoveltyScore)):
            raise ConfigError(f"novelty must be energy or max_logit, got {self.novelty!r:.40}")
        if (self.novelty is None) != (self.novelty_limit is None):
            raise ConfigError("novelty and novelty_limit of a decision come together")
        if self.novelty_limit is not None and not is_finite(self.novelty_limit):
            raise ConfigError("novelty_limit of a decision must be a finite number")
        _check_evidence(self.evidence)

    def check(self, num_classes: int) -> None:
        """Refuse one that was made for another network.

        Raises:
            ConfigError: if it holds values for another number of classes.
        """
        for name in ("temperatures", "biases", "thresholds"):
            given = len(getattr(self, name))
            if given not in (1, num_classes):
                raise ConfigError(f"a decision with {given} {name} does not fit {num_classes} classes")

    def calibrated(self, logits: NDArray[Any]) -> Floats:
        """Logits whose softmax are the probabilities, float64, of logits (N, K)."""
        scaled: Floats = logits.astype(np.float64) / np.array(self.temperatures) + np.array(self.biases)
        return scaled

    def probabilities(self, logits: NDArray[Any], *, task: Task = "singlelabel") -> Floats:
        """Calibrated probabilities, float64 (N, K), of logits (N, K)."""
        scaled = self.calibrated(logits)
        return softmax(scaled) if task == "singlelabel" else sigmoid(scaled)

    def doubts(self, logits: NDArray[Any], *, task: Task = "singlelabel") -> list[Doubt | None]:
        """Why the likeliest class of each row of logits (N, K) is no sure answer; None where it is one."""
        unlikely = np.zeros(len(logits), bool)
        if task == "singlelabel" and any(self.thresholds):
            probabilities = self.probabilities(logits)
            thresholds = np.broadcast_to(np.array(self.thresholds), probabilities.shape[1:])
            unlikely = probabilities.max(1) < thresholds[probabilities.argmax(1)]
        novel = np.zeros(len(logits), bool)
        if self.novelty is not None and self.novelty_limit is not None:
            novel = familiarity(logits, self.novelty) < self.novelty_limit
        return [
            "novel" if strange else "unlikely" if low else None
            for strange, low in zip(novel, unlikely, strict=True)
        ]

    def sure(self, logits: NDArray[Any], *, task: Task = "singlelabel") -> NDArray[np.bool_]:
        """Whether the likeliest class of each row of logits (N, K) is a sure answer, bool (N,)."""
        return np.array([doubt is None for doubt in self.doubts(logits, task=task)], bool)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: object) -> Decision:
        """The way back from `to_dict`, from a file that may hold anything.

        Raises:
            ConfigError: if the values are no decision's.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"a decision must be an object, got {type(values).__name__}")
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        try:
            return cls(**fields)
        except TypeError as error:
            raise ConfigError(f"a decision has fields that are unknown here: {error}") from error


def softmax(logits: Floats) -> Floats:
    """Probabilities of rows, float64 (N, K)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def sigmoid(logits: Floats) -> Floats:
    """Probabilities of labels that do not exclude one another, float64 (N, K).

    >>> sigmoid(np.array([[0.0, -800.0, 800.0]]))
    array([[0.5, 0. , 1. ]])
    """
    small = np.exp(-np.abs(logits))  # of the side that does not overflow
    probabilities: Floats = np.where(logits < 0, small, 1.0) / (1 + small)
    return probabilities


def familiarity(logits: NDArray[Any], score: NoveltyScore) -> Floats:
    """How familiar each row of logits (N, K) looks, float64 (N,): more is more familiar.

    `energy` is the negative free energy of Liu et al. (arXiv 2010.03759) at temperature 1; `max_logit` is of
    Hendrycks et al. (arXiv 1911.11132).

    >>> familiarity(np.array([[0.0, 0.0], [3.0, 0.0]]), "max_logit")
    array([0., 3.])
    """
    rows = logits.astype(np.float64)
    largest: Floats = rows.max(1)
    if score == "max_logit":
        return largest
    energy: Floats = largest + np.log(np.exp(rows - largest[:, None]).sum(1))
    return energy


def is_finite(value: object) -> bool:
    """Whether a value of a file is a number that float64 holds; math.isfinite raises on larger integers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER


def _check_evidence(evidence: object) -> None:
    if not isinstance(evidence, Mapping) or len(evidence) > MAX_EVIDENCE:
        raise ConfigError(f"evidence of a decision must be an object of at most {MAX_EVIDENCE} entries")
    for name, value in evidence.items():
        if not isinstance(name, str) or not (
            is_finite(value) or (isinstance(value, str) and len(value) <= MAX_TEXT)
        ):
            raise ConfigError("evidence of a decision must be texts and finite numbers")
