"""The convex fit: its minimum, what its penalty is chosen by, and that it repeats."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mobileone.training.method.logistic_fit import chosen_to_hold_out, fit_logistic
from mobileone.training.method.loss import TrainLoss, balanced_weights


def blobs(per_class: int = 40, *, width: int = 6, spread: float = 3.0) -> tuple[Tensor, Tensor]:
    """Features of three overlapping classes, of very different scales, and labels."""
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(3).repeat_interleave(per_class)
    centres = 2 * torch.randn(3, width, generator=random)
    noise = spread * torch.randn(len(labels), width, generator=random)
    scales = torch.logspace(-2, 2, width)
    return (centres[labels] + noise) * scales + 7, labels


def gradient(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, loss: TrainLoss) -> Tensor:
    """Of the mean loss by the weights, at a solution, (K, D)."""
    weight = weight.clone().requires_grad_()
    loss(features.double() @ weight.T + bias, labels).backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    return weight.grad


@pytest.mark.parametrize(
    "loss",
    [
        TrainLoss(),
        TrainLoss(smoothing=0.1),
        TrainLoss(kind="bce"),
        TrainLoss(class_weights=torch.tensor([1.0, 2.0, 0.5])),
    ],
    ids=["plain", "smoothed", "bce", "weighted"],
)
def test_the_gradient_is_that_of_a_minimum(loss: TrainLoss) -> None:
    features, labels = blobs()
    fit = fit_logistic([features], labels, loss=loss, num_classes=3, strengths=[0.03], held_out=0.2)
    variance = (features.double() - features.double().mean(0)).square().mean()
    slope = gradient(features, labels, fit.weight, fit.bias, loss)
    penalty = 0.03 * variance * fit.weight  # of strength / 2 · ‖weight · scale‖²
    assert float(((slope + penalty) / variance.sqrt()).abs().max()) < 5e-4  # of scaled features


def test_it_agrees_with_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, labels = blobs()
    fit = fit_logistic([features], labels, loss=TrainLoss(), num_classes=3, strengths=[0.1], held_out=0.2)
    wide = features.double()
    scale = (wide - wide.mean(0)).square().mean().sqrt()
    scaled = ((wide - wide.mean(0)) / scale).numpy()
    other = linear_model.LogisticRegression(C=1 / (0.1 * len(labels)), tol=1e-8, max_iter=10_000)
    expected = other.fit(scaled, labels.numpy()).predict_proba(scaled)
    ours = (wide @ fit.weight.T + fit.bias).softmax(1).numpy()
    assert np.abs(ours - expected).max() < 1e-3


def test_the_penalty_is_the_one_that_the_held_out_images_like_best() -> None:
    features, labels = blobs(spread=4.0, width=40)
    strengths = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)
    fit = fit_logistic([features], labels, loss=TrainLoss(), num_classes=3, strengths=strengths, held_out=0.3)
    best = min(fit.trials, key=lambda trial: trial.loss)
    assert fit.strength == best.strength
    assert 1 < fit.trials.index(best) + 1 < len(strengths)
    held = chosen_to_hold_out(labels, share=0.3)
    alone = fit_logistic(
        [features[~held]],
        labels[~held],
        loss=TrainLoss(),
        num_classes=3,
        strengths=[best.strength],
        held_out=0.3,
    )
    logits = features[held].double() @ alone.weight.T + alone.bias
    # To rounding of another centre and scale of the features.
    assert float(TrainLoss()(logits, labels[held])) == pytest.approx(best.loss, rel=0.1)


def test_a_share_of_every_class_is_held_out_and_never_all_of_one() -> None:
    labels = torch.tensor([0] * 10 + [1] * 5 + [2])
    held = chosen_to_hold_out(labels, share=0.4)
    assert [int(held[labels == label].sum()) for label in range(3)] == [4, 2, 0]
    assert not chosen_to_hold_out(torch.arange(3), share=0.9).any()


def test_one_image_a_class_is_enough() -> None:
    features = torch.eye(3)
    fit = fit_logistic(
        [features], torch.arange(3), loss=TrainLoss(), num_classes=3, strengths=(1, 0.1, 0.01), held_out=0.2
    )
    assert (fit.strength, fit.trials) == (0.1, ())
    assert (features.double() @ fit.weight.T + fit.bias).argmax(1).tolist() == [0, 1, 2]


def test_several_labels_an_image_are_fitted_each_on_its_own() -> None:
    features, classes = blobs()
    labels = torch.stack([classes == 0, classes != 1], 1).float()
    fit = fit_logistic(
        [features],
        labels,
        loss=TrainLoss(kind="bce", task="multilabel"),
        num_classes=2,
        strengths=(0.1, 0.01, 0.001),
        held_out=0.25,
    )
    right = ((features.double() @ fit.weight.T + fit.bias > 0) == (labels > 0)).double().mean()
    assert float(right) > 0.7
    assert all(0 <= trial.accuracy <= 100 for trial in fit.trials)
    assert int(chosen_to_hold_out(labels, share=0.25).sum()) == 30


def test_a_class_without_images_and_a_dead_feature_do_no_harm() -> None:
    features, labels = blobs()
    features = torch.cat([features, torch.zeros(len(features), 2)], 1)
    weights = balanced_weights(labels.numpy(), 4)
    fit = fit_logistic(
        [features],
        labels,
        loss=TrainLoss(class_weights=weights),
        num_classes=4,
        strengths=(1, 0.1),
        held_out=0.2,
    )
    assert fit.weight.isfinite().all()
    assert fit.bias.isfinite().all()
    assert fit.weight.shape == (4, 8)


def test_views_count_alike_and_the_result_repeats_to_the_bit() -> None:
    features, labels = blobs()
    options = {"loss": TrainLoss(), "num_classes": 3, "strengths": (0.1, 0.01), "held_out": 0.2}
    one, again, doubled = (
        fit_logistic(views, labels, **options)  # type: ignore[arg-type]
        for views in ([features], [features], [features, features])
    )
    assert torch.equal(one.weight, again.weight)
    assert torch.equal(one.bias, again.bias)
    torch.testing.assert_close(one.weight, doubled.weight, rtol=1e-2, atol=1e-3)
