"""The loss against its definition."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from mobileone.errors import ConfigError
from mobileone.training.method.loss import (
    TrainLoss,
    asymmetric_loss,
    balanced_weights,
    class_weights,
    distillation,
    label_distillation,
    similarity_distillation,
    smoothed_cross_entropy,
    smoothed_targets,
    soft_binary_cross_entropy,
    soft_cross_entropy,
)
from mobileone.training.method.mix import Blend
from mobileone.training.method.taught import Taught


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_it_is_the_cross_entropy_with_the_mixed_target(smoothing: float) -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    target = torch.full((6, 5), smoothing / 5, dtype=torch.float64)
    target[torch.arange(6), labels] += 1 - smoothing
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(smoothed_cross_entropy(logits, labels, smoothing=smoothing), expected)


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = torch.tensor([[20000.0, 0.0]], dtype=torch.float16)
    loss = smoothed_cross_entropy(logits, torch.tensor([1]), smoothing=0.0)
    assert loss.dtype == torch.float32
    assert loss.item() == 20000.0


LOGITS = torch.tensor([[math.log(4.0), 0.0, 0.0]])  # softmax 2/3, 1/6, 1/6; sigmoid 4/5, 1/2, 1/2


def test_targets_by_hand() -> None:
    targets = smoothed_targets(torch.tensor([2, 0]), num_classes=4, smoothing=0.2)
    expected = [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]
    torch.testing.assert_close(targets, torch.tensor(expected))


def test_soft_cross_entropy_by_hand() -> None:
    targets = torch.tensor([[0.5, 0.25, 0.25]])
    expected = -(0.5 * math.log(2 / 3) + 0.5 * math.log(1 / 6))
    assert soft_cross_entropy(LOGITS, targets).item() == pytest.approx(expected)
    weights = torch.tensor([2.0, 1.0, 0.0])
    weighted = -(2 * 0.5 * math.log(2 / 3) + 0.25 * math.log(1 / 6))
    assert soft_cross_entropy(LOGITS, targets, class_weights=weights).item() == pytest.approx(weighted)


def test_binary_cross_entropy_by_hand() -> None:
    targets = torch.tensor([[1.0, 0.0, 0.25]])
    terms = [-math.log(4 / 5), math.log(2), math.log(2)]
    loss = soft_binary_cross_entropy(LOGITS, targets)
    assert loss.item() == pytest.approx(sum(terms))
    weights = torch.tensor([2.0, 1.0, 0.0])
    weighted = soft_binary_cross_entropy(LOGITS, targets, class_weights=weights)
    assert weighted.item() == pytest.approx(2 * terms[0] + terms[1])


def test_its_gradient_is_as_large_as_the_cross_entropys() -> None:
    """σ(z) − t a class and image, no further factor: what softmax(z) − t is to the other."""
    logits = torch.zeros(2, 3, requires_grad=True)
    soft_binary_cross_entropy(
        logits, smoothed_targets(torch.tensor([0, 1]), num_classes=3, smoothing=0.0)
    ).backward()
    expected = torch.tensor([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5]]) / 2  # two images
    torch.testing.assert_close(logits.grad, expected)


def test_distillation_by_hand() -> None:
    teacher = torch.tensor([[math.log(9.0), 0.0]])
    student = torch.tensor([[0.0, 0.0]])
    plain = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert distillation(student, teacher, temperature=1.0).item() == pytest.approx(plain)
    # At temperature 2 the teacher's odds are 9^½ = 3.
    warm = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert distillation(student, teacher, temperature=2.0).item() == pytest.approx(warm)


def test_the_temperature_keeps_the_gradients_size() -> None:
    """T² · KL's gradient tends to (z − z̄ − (t − t̄)) / K for large T."""
    student, teacher = torch.tensor([[1.0, 0.0, -1.0]], requires_grad=True), torch.tensor([[2.0, 0.0, 1.0]])
    distillation(student, teacher, temperature=1000.0).backward()
    centred = teacher - teacher.mean()
    torch.testing.assert_close(student.grad, (student.detach() - centred) / 3, atol=1e-3, rtol=1e-2)


def test_balanced_weights_by_hand() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [3] * 1)
    weights = balanced_weights(labels, 4)
    torch.testing.assert_close(weights, torch.tensor([10 / 18, 10 / 9, 0.0, 10 / 3]))
    assert weights[labels].mean().item() == pytest.approx(1.0)
    assert class_weights("none", labels, 4) is None
    torch.testing.assert_close(class_weights("balanced", labels, 4), weights)
    torch.testing.assert_close(class_weights((1.0, 2.0, 3.0, 4.0), labels, 4), torch.tensor([1.0, 2, 3, 4]))
    with pytest.raises(ConfigError, match="class_weights has 2 numbers, the data 4 classes"):
        class_weights((1.0, 2.0), labels, 4)


def test_the_loss_of_a_run_puts_its_parts_together() -> None:
    labels, partners = torch.tensor([0]), torch.tensor([2])
    blend = Blend("mixup", 0.75)
    plain = TrainLoss(smoothing=0.1)
    expected = 0.75 * plain(LOGITS, labels) + 0.25 * plain(LOGITS, partners)
    torch.testing.assert_close(plain(LOGITS, labels, blend=blend, partners=partners), expected)
    ones = TrainLoss(smoothing=0.1, class_weights=torch.ones(3))
    torch.testing.assert_close(ones(LOGITS, labels), plain(LOGITS, labels))
    taught = TrainLoss(smoothing=0.1, teacher_weight=0.3, temperature=2.0)
    teacher = torch.tensor([[0.0, 1.0, 2.0]])
    both = 0.7 * plain(LOGITS, labels) + 0.3 * distillation(LOGITS, teacher, temperature=2.0)
    torch.testing.assert_close(taught(LOGITS, labels, taught=Taught(teacher)), both)
    torch.testing.assert_close(taught(LOGITS, labels), plain(LOGITS, labels))
    compared = dataclasses.replace(taught, feature_weight=3.0)
    features, wanted = torch.randn(1, 4), torch.tensor([[1.0, 2.0]])
    said = Taught(teacher, wanted)
    alike = similarity_distillation(features, wanted)
    torch.testing.assert_close(compared(LOGITS, labels, taught=said, features=features), both + 3 * alike)
    torch.testing.assert_close(compared(LOGITS, labels, taught=said), both)
    binary = TrainLoss(kind="bce")(LOGITS, labels).item()
    assert binary == pytest.approx(-math.log(4 / 5) + 2 * math.log(2))


def test_likeness_by_hand() -> None:
    """Two images that are alike to the student, and have nothing in common to the teacher."""
    student = torch.tensor([[1.0, 0.0], [2.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 5.0, 0.0], [3.0, 0.0, 0.0]])
    own = torch.tensor([1.0, 2.0]) / 5**0.5  # a row (1, 2) and one (2, 4), each of norm 1
    wanted = ((own[0] - 1) ** 2 + own[1] ** 2 + own[0] ** 2 + (own[1] - 1) ** 2) / 2
    loss = similarity_distillation(student, teacher)
    torch.testing.assert_close(loss.detach(), wanted)
    loss.backward()
    assert student.grad is not None
    assert student.grad[0, 1] == 0  # by symmetry; along the axis that the two share it is not
    assert student.grad[0, 0] != 0
    torch.testing.assert_close(similarity_distillation(7 * student, teacher).detach(), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(similarity_distillation(student.bfloat16(), teacher).detach(), wanted)


def test_targets_of_several_labels_are_smoothed_alike() -> None:
    targets = smoothed_targets(torch.tensor([[1.0, 0.0, 1.0, 0.0]]), num_classes=4, smoothing=0.2)
    torch.testing.assert_close(targets, torch.tensor([[0.85, 0.05, 0.85, 0.05]]))


def test_the_asymmetric_loss_by_hand() -> None:
    # p is 4/5, 1/2, 1/2; of the second label, which is not there, q = 1/2 − 1/10
    targets = torch.tensor([[1.0, 0.0, 1.0]])
    loss = asymmetric_loss(LOGITS, targets, gamma_positive=1.0, gamma_negative=2.0, margin=0.1)
    expected = -(0.2 * math.log(0.8) + 0.4**2 * math.log(0.6) + 0.5 * math.log(0.5))
    assert loss.item() == pytest.approx(expected)
    weights = torch.tensor([1.0, 0.0, 0.0])
    weighted = asymmetric_loss(
        LOGITS, targets, gamma_positive=1.0, gamma_negative=2.0, margin=0.1, class_weights=weights
    )
    assert weighted.item() == pytest.approx(-0.2 * math.log(0.8))


def test_without_exponents_and_margin_it_is_the_binary_cross_entropy() -> None:
    logits = torch.tensor([[-90.0, 90.0, 0.3], [90.0, -90.0, 2.0]])
    targets = torch.tensor([[1.0, 0.0, 0.25], [1.0, 0.0, 0.0]])
    plain = asymmetric_loss(logits, targets, gamma_positive=0.0, gamma_negative=0.0, margin=0.0)
    torch.testing.assert_close(plain, soft_binary_cross_entropy(logits, targets))


@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_its_gradient_is_finite_for_logits_of_any_size(margin: float) -> None:
    logits = torch.tensor([[-200.0, 200.0, -200.0, 200.0, 0.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.5]])
    loss = asymmetric_loss(logits, targets, gamma_positive=1.0, gamma_negative=4.0, margin=margin)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_teacher_of_labels_is_followed_label_by_label() -> None:
    student, teacher = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 1.0]])
    p = 1 / (1 + math.exp(-1))  # of the first label at temperature 2
    expected = 4 * (p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5))
    assert label_distillation(student, teacher, temperature=2.0).item() == pytest.approx(expected)
    loss = TrainLoss(kind="bce", task="multilabel", teacher_weight=1.0, temperature=2.0)
    taught = loss(student, torch.tensor([[1.0, 0.0]]), taught=Taught(teacher))
    assert taught.item() == pytest.approx(expected)


def test_a_run_of_several_labels_weighs_mixes_and_sums_them() -> None:
    labels = np.array([[True, False], [True, True], [True, False]])
    torch.testing.assert_close(balanced_weights(labels, 2), torch.tensor([4 / 6, 4 / 2]))
    mixed = TrainLoss(kind="asymmetric", gamma_negative=0.0, margin=0.0, task="multilabel")(
        torch.zeros(1, 2),
        torch.tensor([[1.0, 0.0]]),
        blend=Blend("mixup", 0.25),
        partners=torch.tensor([[0.0, 1.0]]),
    )
    assert mixed.item() == pytest.approx(2 * math.log(2))
