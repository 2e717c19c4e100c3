"""A linear classifier of given features: a convex problem, solved to its minimum, its penalty chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mobileone.training.method.loss import TrainLoss

MAX_ITERATIONS = 300
GRADIENT_TOLERANCE = 1e-4
"""Of its largest entry, in unknowns along which the loss bends by up to 1."""
PATIENCE = 2
"""So many weaker penalties in a row that are worse on the images held out end the search: it is convex."""
SEED = 0x5EED  # of who is held out


class StrengthTrial(NamedTuple):
    """A penalty that was tried."""

    strength: float
    loss: float
    """Of the images held out, their mean."""
    accuracy: float
    """Of them, percent: top-1, or with several labels an image the labels that are right at 1/2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticFit:
    """A fitted linear layer.

    Attributes:
        weight: (K, D), float64, for the features as they were given.
        bias: (K,), float64.
        loss: of the features fitted to, without the penalty.
        strength: the penalty.
        trials: how it was chosen; none if there was no choice.
    """

    weight: Tensor
    bias: Tensor
    loss: float
    strength: float
    trials: tuple[StrengthTrial, ...]


def fit_logistic(
    views: Sequence[Tensor],
    labels: Tensor,
    *,
    loss: TrainLoss,
    num_classes: int,
    strengths: Sequence[float],
    held_out: float,
) -> LogisticFit:
    """The linear layer of the least mean loss + strength / 2 · ‖weights‖², bias left out of the penalty.

    Features are scaled by one number, to a variance of 1 on average, so that a strength means the same for
    every network. The same features give the same result, to the last bit with as many threads.

    Args:
        views: features of the images, (N, D) each, any floating dtype; of each image once in every view. What
            is held out is judged by the first.
        labels: (N,), int64 in [0, K), or several an image, 0 or 1 (N, K).
        loss: of logits and labels; convex in the logits.
        num_classes: K.
        strengths: to choose from, falling.
        held_out: share of each class that decides, in (0, 1); with several labels an image, of all images.

    >>> features = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> fit = fit_logistic(
    ...     [features], labels, loss=TrainLoss(), num_classes=2, strengths=[0.01], held_out=0.5
    ... )
    >>> (features.double() @ fit.weight.T + fit.bias).argmax(1)
    tensor([0, 0, 1, 1])
    """
    problem = _Problem.of(views, labels, loss, num_classes)
    strength = strengths[0]
    trials: list[StrengthTrial] = []
    if len(strengths) > 1:
        held = chosen_to_hold_out(labels, share=held_out)
        strength, trials = _choose(problem, held, strengths)
    solution = problem.solve(torch.ones(len(labels), dtype=torch.bool), strength, problem.start())
    weight, bias = problem.layer(solution)
    return LogisticFit(
        weight=weight, bias=bias, loss=problem.loss_of(solution), strength=strength, trials=tuple(trials)
    )


def chosen_to_hold_out(labels: Tensor, *, share: float) -> Tensor:
    """Which images decide on the penalty: bool (N,), that share of each class, rounded, but never all of it.

    With several labels an image, (N, K), all images are one class.

    >>> chosen_to_hold_out(torch.tensor([0, 0, 0, 0, 1]), share=0.25).sum()
    tensor(1)
    """
    held = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(SEED)
    classes = labels.cpu() if labels.ndim == 1 else torch.zeros(len(labels))
    for label in classes.unique(sorted=True):  # type: ignore[no-untyped-call]
        members = (classes == label).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=generator)
        held[members[order[: min(round(share * len(members)), len(members) - 1)]]] = True
    return held.to(labels.device)


def _choose(problem: _Problem, held: Tensor, strengths: Sequence[float]) -> tuple[float, list[StrengthTrial]]:
    """The penalty of the least loss on the images held out, from the strongest on."""
    if not held.any():
        # A single image a class: the middle one is a guess, and the best there is.
        return strengths[len(strengths) // 2], []
    trials: list[StrengthTrial] = []
    solution = problem.start()
    best = 0
    for strength in strengths:
        solution = problem.solve(~held, strength, solution)  # from the last, which is near
        trials.append(StrengthTrial(strength, *problem.judge(solution, held)))
        best = min(range(len(trials)), key=lambda index: trials[index].loss)
        if len(trials) - 1 - best >= PATIENCE:
            break
    return trials[best].strength, trials


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """Features in axes in which the loss bends about alike in all directions.

    The loss bends by at most half the features' covariance (Böhning, 1992), so along their principal axes by
    up to s / 2 + strength; unknowns in units of its root make L-BFGS converge in tens of steps.

    Attributes:
        views: centred, rotated and scaled features, float64 (N, D) each.
        labels: (N,).
        loss: of logits and labels.
        num_classes: K.
        mean: of the features as they were given, (D,).
        scale: root of their average variance, ().
        axes: their principal axes, (D, D).
        bends: variance along each of them, of the scaled features, (D,).
    """

    views: Sequence[Tensor]
    labels: Tensor
    loss: TrainLoss
    num_classes: int
    mean: Tensor
    scale: Tensor
    axes: Tensor
    bends: Tensor

    @classmethod
    def of(cls, views: Sequence[Tensor], labels: Tensor, loss: TrainLoss, num_classes: int) -> _Problem:
        """The problem of features as they are given."""
        wide = [view.double() for view in views]
        mean = torch.stack([view.mean(0) for view in wide]).mean(0)
        wide = [view - mean for view in wide]
        scale = torch.stack([view.square().mean() for view in wide]).mean().sqrt().clamp(min=1e-12)
        products = torch.stack([view.T @ view for view in wide]).sum(0)
        bends, axes = torch.linalg.eigh(products / (scale**2 * len(wide) * len(labels)))
        return cls(
            views=[view @ axes / scale for view in wide],
            labels=labels,
            loss=loss,
            num_classes=num_classes,
            mean=mean,
            scale=scale,
            axes=axes,
            bends=bends.clamp(min=0),
        )

    def start(self) -> Tensor:
        """Weights (D, K) and a row of biases below them, all 0."""
        return torch.zeros(len(self.bends) + 1, self.num_classes, dtype=torch.double, device=self.mean.device)

    def solve(self, chosen: Tensor, strength: float, start: Tensor) -> Tensor:
        """The minimum over the images chosen."""
        units = torch.cat([(self.bends / 2 + strength).rsqrt(), self.bends.new_ones(1)])[:, None]
        whole = bool(chosen.all())
        views = self.views if whole else [view[chosen] for view in self.views]
        labels = self.labels if whole else self.labels[chosen]
        unknowns = (start / units).requires_grad_()
        optimizer = torch.optim.LBFGS(
            [unknowns],
            max_iter=MAX_ITERATIONS,
            history_size=20,
            line_search_fn="strong_wolfe",
            tolerance_grad=GRADIENT_TOLERANCE,
            tolerance_change=1e-12,
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            layer = unknowns * units
            value = self._mean_loss(views, labels, layer) + strength / 2 * layer[:-1].square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        with torch.enable_grad():
            optimizer.step(closure)  # type: ignore[no-untyped-call]
        return (unknowns * units).detach()

    def judge(self, solution: Tensor, chosen: Tensor) -> tuple[float, float]:
        """Mean loss and accuracy (percent) of the first view of the images chosen."""
        features, labels = self.views[0][chosen], self.labels[chosen]
        logits = features @ solution[:-1] + solution[-1]
        right = logits.argmax(1) == labels if labels.ndim == 1 else (logits > 0) == (labels > 0)
        return float(self._mean_loss([features], labels, solution)), 100 * float(right.double().mean())

    def loss_of(self, solution: Tensor) -> float:
        """Mean loss of all images, without the penalty."""
        return float(self._mean_loss(self.views, self.labels, solution))

    def layer(self, solution: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (K, D) and bias (K,) for the features as they were given."""
        weight = (self.axes @ solution[:-1] / self.scale).T
        return weight, solution[-1] - weight @ self.mean

    def _mean_loss(self, views: Sequence[Tensor], labels: Tensor, layer: Tensor) -> Tensor:
        parts = [self.loss(view @ layer[:-1] + layer[-1], labels) for view in views]
        return torch.stack(parts).mean()
