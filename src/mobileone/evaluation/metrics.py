"""Logits to right answers and agreement, and the result of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobileone.evaluation.metric_names import METRICS, class_metric, kind_and_class

if TYPE_CHECKING:
    from torch import Tensor


def in_topk(logits: Tensor, labels: Tensor, ks: Sequence[int] = (1, 5)) -> Tensor:
    """Whether a row's label is among its k largest logits, for each k.

    A k above the number of classes counts as that number. A row with a NaN is wrong for every k.

    Args:
        logits: (N, K), any floating dtype.
        labels: (N,), int64 in [0, K), on the device of `logits`.
        ks: the k's, each at least 1.

    Returns:
        bool (len(ks), N), on the device of `logits`.
    """
    import torch  # here, so that results of exported files need none

    num_classes = logits.shape[1]
    ranked = logits.topk(min(max(ks), num_classes), dim=1).indices
    right = (ranked == labels[:, None]) & ~logits.isnan().any(dim=1, keepdim=True)
    return torch.stack([right[:, :k].any(dim=1) for k in ks])


def topk_correct(logits: Tensor, labels: Tensor, ks: Sequence[int] = (1, 5)) -> Tensor:
    """How many rows have their label among the k largest logits, for each k: int64 (len(ks),).

    The arguments are those of `in_topk`.

    >>> import torch
    >>> topk_correct(torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), torch.tensor([0, 1]), (1, 2)).tolist()
    [1, 2]
    """
    return in_topk(logits, labels, ks).sum(1)


def top1_agreement(logits: Tensor, others: Tensor) -> float:
    """Share of the rows whose largest logit is of the same class in both, in [0, 1].

    Args:
        logits: (N, K); where several are the largest, the first counts.
        others: of the same images, (N, K).

    >>> import torch
    >>> top1_agreement(torch.tensor([[3.0, 1.0], [3.0, 1.0]]), torch.tensor([[9.0, 0.0], [0.0, 9.0]]))
    0.5
    """
    return (logits.argmax(1) == others.argmax(1)).double().mean().item()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalResult:
    """What an evaluation found.

    Attributes:
        num_images: images that were classified.
        loss: cross-entropy without label smoothing, or of several labels an image the sum of their binary
            ones; mean over the images, nats. Of a calibrated model those of its calibrated probabilities.
        metrics: figures in percent by name: those of `METRICS` for the task (`acc1`, `map`, …), and of every
            class that has images (`recall/cat`, or `ap/cat` and `f1/cat`).
        skipped: paths of images that could not be read and were left out.
        seconds: wall time, loading included.
        coverage: share of the images with a sure answer, percent; None for a model that was not calibrated.
        accepted_acc1: top-1 among these, percent; None where there are none.
        notes: what was chosen, guessed or left out in finding the images and their labels, a line each.
    """

    num_images: int
    loss: float
    metrics: Mapping[str, float]
    skipped: tuple[str, ...] = ()
    seconds: float = 0.0
    coverage: float | None = None
    accepted_acc1: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def acc1(self) -> float:
        """Share whose label has the largest logit, percent; a KeyError with several labels an image."""
        return self.metrics["acc1"]

    @property
    def acc5(self) -> float:
        """Share whose label is among the five largest (all, with fewer classes), percent; likewise."""
        return self.metrics["acc5"]

    @property
    def overall(self) -> dict[str, float]:
        """The figures of the whole set, without those of single classes."""
        return {name: value for name, value in self.metrics.items() if "/" not in name}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; a loss that is not finite becomes None.

        >>> result = EvalResult(num_images=1, loss=float("nan"), metrics={"acc1": 0.0, "recall/cat": 0.0})
        >>> values = result.to_dict()
        >>> values["loss"] is None, values["acc1"], values["per_class"]
        (True, 0.0, {'recall': {'cat': 0.0}})
        """
        per_class: dict[str, dict[str, float]] = {}
        for name, value in self.metrics.items():
            kind, class_name = kind_and_class(name)
            if class_name is not None:
                per_class.setdefault(kind, {})[class_name] = value
        return {
            "num_images": self.num_images,
            **self.overall,
            "loss": self.loss if math.isfinite(self.loss) else None,
            "per_class": per_class,
            "skipped": list(self.skipped),
            "seconds": self.seconds,
            "coverage": self.coverage,
            "accepted_acc1": self.accepted_acc1,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EvalResult:
        """The way back, also from before there were other figures than `acc1` and `acc5`.

        Raises:
            KeyError, TypeError, ValueError: if the values are no result's.
        """
        known = {name for names in METRICS.values() for name in names}
        metrics = {name: float(value) for name, value in values.items() if name in known}
        for kind, of_classes in values.get("per_class", {}).items():
            metrics |= {class_metric(kind, name): float(value) for name, value in of_classes.items()}
        return cls(
            num_images=int(values["num_images"]),
            loss=math.nan if values["loss"] is None else float(values["loss"]),
            metrics=metrics,
            skipped=tuple(values.get("skipped", ())),
            seconds=float(values["seconds"]),
            coverage=values.get("coverage"),
            accepted_acc1=values.get("accepted_acc1"),
            notes=tuple(values.get("notes", ())),
        )
