"""Training losses: pure functions of logits and targets, each a mean over the images; and a run's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mobileone.data.source import Labels, label_counts
from mobileone.errors import ConfigError
from mobileone.task import Task
from mobileone.training.config.objective import LossName
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.mix import Blend
from mobileone.training.method.taught import Taught


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float) -> Tensor:
    """Cross-entropy against (1 − s)·one-hot + s/K, the mean over the batch, in float32 or wider.

    Label smoothing as in arXiv 1512.00567, section 7, which is torch's own definition.

    Args:
        logits: (N, K), any floating dtype.
        labels: (N,), int64 in [0, K).
        smoothing: s in [0, 1); 0 is plain cross-entropy.

    Returns:
        A scalar.

    >>> smoothed_cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]), smoothing=0.1).exp()
    tensor(4.)
    """
    return F.cross_entropy(_wide(logits), labels, label_smoothing=smoothing)


def smoothed_targets(labels: Tensor, *, num_classes: int, smoothing: float) -> Tensor:
    """(1 − s)·one-hot + s/K, float32 (N, K), of labels int64 (N,), or of several an image, 0 or 1 (N, K).

    >>> smoothed_targets(torch.tensor([1]), num_classes=4, smoothing=0.2)
    tensor([[0.0500, 0.8500, 0.0500, 0.0500]])
    """
    if labels.ndim == 2:
        return (1 - smoothing) * labels.float() + smoothing / num_classes
    targets = torch.full((len(labels), num_classes), smoothing / num_classes, device=labels.device)
    return targets.scatter_add_(1, labels[:, None], torch.full_like(targets[:, :1], 1 - smoothing))


def soft_cross_entropy(logits: Tensor, targets: Tensor, *, class_weights: Tensor | None = None) -> Tensor:
    """−Σₖ wₖ·tₖ·log softmax(z)ₖ, the mean over the batch.

    The mean is over images, not over their weights as torch's is: so a step's loss is that of its parts, on
    whatever ranks they are.

    Args:
        logits: z, (N, K), any floating dtype.
        targets: t, (N, K), rows of sum 1.
        class_weights: w, (K,); None is 1.

    >>> targets = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    >>> soft_cross_entropy(torch.zeros(2, 2), targets, class_weights=torch.tensor([1.0, 3.0])) / 2**0.5
    tensor(0.7352)
    """
    terms = targets * _wide(logits).log_softmax(1)
    return -(terms if class_weights is None else terms * class_weights).sum(1).mean()


def soft_binary_cross_entropy(
    logits: Tensor, targets: Tensor, *, class_weights: Tensor | None = None
) -> Tensor:
    """−Σₖ wₖ·(tₖ·log σ(zₖ) + (1 − tₖ)·log(1 − σ(zₖ))), the mean over the batch: every class on its own.

    Summed over the classes, so that its gradient is as large as the cross-entropy's and the same learning
    rates do (arXiv 2006.07159 trains so; arXiv 2110.00476 takes the mean, and an optimizer that scales it).

    Args:
        logits: z, (N, K), any floating dtype.
        targets: t, (N, K), in [0, 1].
        class_weights: w, (K,); None is 1.

    >>> soft_binary_cross_entropy(torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.5]])) / 3  # log 2
    tensor(0.6931)
    """
    terms = F.binary_cross_entropy_with_logits(_wide(logits), targets, weight=class_weights, reduction="none")
    return terms.sum(1).mean()


def asymmetric_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_positive: float,
    gamma_negative: float,
    margin: float,
    class_weights: Tensor | None = None,
) -> Tensor:
    """−Σₖ wₖ·(tₖ·(1 − p)^γ₊·log p + (1 − tₖ)·q^γ₋·log(1 − q)), the mean over the batch (arXiv 2009.14119).

    p = σ(zₖ), and q = max(p − m, 0): labels that an image has not count little once they are unlikely, and
    not at all below the margin m, for there are many of them. With γ = 0 and m = 0 it is the binary
    cross-entropy.

    Args:
        logits: z, (N, K), any floating dtype.
        targets: t, (N, K), in [0, 1].
        gamma_positive: γ₊.
        gamma_negative: γ₋.
        margin: m, in [0, 1).
        class_weights: w, (K,); None is 1.

    >>> targets = torch.tensor([[1.0, 0.0]])
    >>> plain = dict(gamma_positive=0.0, gamma_negative=0.0, margin=0.0)
    >>> asymmetric_loss(torch.zeros(1, 2), targets, **plain) / 2  # log 2
    tensor(0.6931)
    """
    z = _wide(logits)
    p = z.sigmoid()
    absent = (p - margin).clamp(min=0)
    # With a margin 1 − q is at least m; without one log(1 − p) must not be taken of what was rounded to 0.
    log_absent = torch.log1p(-absent) if margin else F.logsigmoid(-z)
    terms = targets * F.logsigmoid(z) * (1 - p) ** gamma_positive
    terms = terms + (1 - targets) * log_absent * absent**gamma_negative
    return -(terms if class_weights is None else terms * class_weights).sum(1).mean()


def label_distillation(logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """T²·Σₖ KL(σ(teacherₖ / T) ‖ σ(studentₖ / T)), the mean over the batch: `distillation`, a label each.

    >>> same = torch.tensor([[1.0, 2.0]])
    >>> label_distillation(same, same, temperature=2.0)
    tensor(0.)
    """
    student, teacher = _wide(logits) / temperature, _wide(teacher_logits) / temperature
    taught = teacher.sigmoid()
    crossed, own = (
        F.binary_cross_entropy_with_logits(z, taught, reduction="none") for z in (student, teacher)
    )
    return temperature**2 * (crossed - own).sum(1).mean()


def distillation(logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """T²·KL(softmax(teacher / T) ‖ softmax(student / T)), the mean over the batch (arXiv 1503.02531).

    The factor T² keeps the gradient's size, whatever the temperature.

    Args:
        logits: the student's, (N, K), any floating dtype.
        teacher_logits: (N, K).
        temperature: T, above 0.

    >>> same = torch.tensor([[1.0, 2.0]])
    >>> distillation(same, same + 3, temperature=2.0)
    tensor(0.)
    """
    student = (_wide(logits) / temperature).log_softmax(1)
    teacher = (_wide(teacher_logits) / temperature).log_softmax(1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def similarity_distillation(features: Tensor, teacher_features: Tensor) -> Tensor:
    """Σⱼ (sᵢⱼ − tᵢⱼ)², the mean over images i of a batch: which images are alike (arXiv 1907.09682).

    sᵢⱼ is the scalar product of the features of images i and j, divided so that a row has norm 1. So features
    of any two networks can be compared, whatever their number, scale and rotation, and nothing more is
    trained. The paper divides by the number of images once more: its weight of 3000 is 47 here for 64.

    Args:
        features: the student's, (N, C), any floating dtype.
        teacher_features: (N, D).

    >>> features = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> similarity_distillation(features, 3 * features @ torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    tensor(0.)
    """
    with torch.autocast(features.device.type, enabled=False):  # which would round the products
        alike, wanted = (F.normalize(wide @ wide.T) for wide in map(_wide, (features, teacher_features)))
    return (alike - wanted).square().sum(1).mean()


def balanced_weights(labels: Labels, num_classes: int) -> Tensor:
    """A weight for every class, so that all classes with images count the same; their mean over images is 1.

    Args:
        labels: of the training images, (N,), or several an image (N, K); then N is the number of labels.
        num_classes: K.

    Returns:
        N / (classes with images · images of the class), float32 (K,); 0 for a class without images.

    >>> import numpy as np
    >>> balanced_weights(np.array([0, 0, 0, 1]), 3)
    tensor([0.6667, 2.0000, 0.0000])
    """
    counts = torch.from_numpy(label_counts(labels, num_classes)).double()
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp(min=1))
    return torch.where(present, weights, 0.0).float()


def class_weights(
    setting: Literal["none", "balanced"] | Sequence[float], labels: Labels, num_classes: int
) -> Tensor | None:
    """The weights that a configuration's `class_weights` means; None is 1 for every class.

    Raises:
        ConfigError: on a list of another length.
    """
    if setting == "none":
        return None
    if setting == "balanced":
        return balanced_weights(labels, num_classes)
    assert not isinstance(setting, str)
    if len(setting) != num_classes:
        raise ConfigError(
            f"class_weights has {len(setting)} numbers, the data {num_classes} classes; one number a class"
        )
    return torch.tensor(setting, dtype=torch.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainLoss:
    """The loss of a run: labels, smoothed, weighted and mixed, and a teacher.

    Attributes:
        kind: `"cross_entropy"`, `"bce"` or `"asymmetric"`.
        smoothing: share of the target spread over all classes, in [0, 1).
        class_weights: (K,) on the logits' device, or None.
        teacher_weight: share of the teacher, in [0, 1]; the labels have the rest.
        temperature: of the distillation.
        feature_weight: of the loss of features, beside all else.
        task: whether images have one label or several.
        gamma_positive: of the asymmetric loss, as the next two.
        gamma_negative: likewise.
        margin: likewise.

    >>> TrainLoss(smoothing=0.1)(torch.zeros(2, 4), torch.tensor([0, 3])).exp()
    tensor(4.)
    """

    kind: LossName = "cross_entropy"
    smoothing: float = 0.0
    class_weights: Tensor | None = None
    teacher_weight: float = 0.0
    temperature: float = 1.0
    feature_weight: float = 0.0
    task: Task = "singlelabel"
    gamma_positive: float = 0.0
    gamma_negative: float = 4.0
    margin: float = 0.05

    @classmethod
    def of(cls, config: TrainConfig, labels: Labels, num_classes: int, *, device: torch.device) -> TrainLoss:
        """The loss that a configuration means for training images of these labels.

        Raises:
            ConfigError: if it has weights for another number of classes.
        """
        weights = class_weights(config.objective.class_weights, labels, num_classes)
        return cls(
            kind=config.loss,
            smoothing=config.objective.label_smoothing,
            class_weights=None if weights is None else weights.to(device),
            teacher_weight=config.distill.weight,
            temperature=config.distill.temperature,
            feature_weight=config.distill.features,
            task=config.task,
            gamma_positive=config.objective.gamma_positive,
            gamma_negative=config.objective.gamma_negative,
            margin=config.objective.margin,
        )

    def __call__(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        blend: Blend | None = None,
        partners: Tensor | None = None,
        taught: Taught | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            logits: (N, K).
            labels: int64 (N,), or of several an image 0 or 1, float32 (N, K).
            blend: how the images were mixed, if they were.
            partners: labels of the images they were mixed with, likewise, with `blend`.
            taught: by the teacher, if there is one.
            features: the logits', (N, C), where the teacher's are to be compared with.
        """
        loss = self._of_labels(logits, labels, blend, partners)
        if taught is None:
            return loss
        distil = distillation if self.task == "singlelabel" else label_distillation
        of_teacher = distil(logits, taught.logits, temperature=self.temperature)
        loss = (1 - self.teacher_weight) * loss + self.teacher_weight * of_teacher
        if features is None or taught.features is None:
            return loss
        return loss + self.feature_weight * similarity_distillation(features, taught.features)

    def _of_labels(
        self, logits: Tensor, labels: Tensor, blend: Blend | None, partners: Tensor | None
    ) -> Tensor:
        if self.kind == "cross_entropy" and self.class_weights is None and blend is None:
            return smoothed_cross_entropy(logits, labels, smoothing=self.smoothing)
        targets = smoothed_targets(labels, num_classes=logits.shape[1], smoothing=self.smoothing)
        if blend is not None:
            assert partners is not None
            others = smoothed_targets(partners, num_classes=logits.shape[1], smoothing=self.smoothing)
            targets = others.lerp(targets, blend.share)
        if self.kind == "asymmetric":
            return asymmetric_loss(
                logits,
                targets,
                gamma_positive=self.gamma_positive,
                gamma_negative=self.gamma_negative,
                margin=self.margin,
                class_weights=self.class_weights,
            )
        function = soft_cross_entropy if self.kind == "cross_entropy" else soft_binary_cross_entropy
        return function(logits, targets, class_weights=self.class_weights)


def _wide(logits: Tensor) -> Tensor:
    """In float32 or wider."""
    return logits if logits.element_size() >= 4 else logits.float()
