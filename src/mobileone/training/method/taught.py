"""What a teacher says of images: logits, and the features that they came from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mobileone.errors import ConfigError
from mobileone.task import Task
from mobileone.training.method.mix import mixed_logits, neighbours

LOGITS, FEATURES = "logits", "features"  # what `tensors` calls them


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What was said of N images.

    Attributes:
        logits: of the student's classes, (N, K).
        features: what the teacher's last linear layer was given, (N, C); None where nobody wants them.
    """

    logits: Tensor
    features: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Those that are there, by name."""
        features = {} if self.features is None else {FEATURES: self.features}
        return {LOGITS: self.logits, **features}

    def of(self, images: Tensor | slice) -> Taught:
        """Of some of the images.

        >>> Taught(torch.tensor([[1.0], [2.0]])).of(slice(1, 2)).logits
        tensor([[2.]])
        """
        return Taught(self.logits[images], None if self.features is None else self.features[images])

    def to(self, device: torch.device) -> Taught:
        """On a device, which is not waited for."""
        pin = device.type == "cuda"
        logits, features = (
            None if each is None else (each.pin_memory() if pin else each).to(device, non_blocking=True)
            for each in (self.logits, self.features)
        )
        assert logits is not None
        return Taught(logits, features)

    def mixed(self, *, share: float, temperature: float, task: Task) -> Taught:
        """Of images that were mixed after the teacher looked: probabilities and features, mixed as they are.

        Args:
            share: of each image itself, in [0, 1]; the rest is its neighbour's.
            temperature: at which the probabilities are taken.
            task: whether they exclude one another.
        """
        features = self.features
        return Taught(
            mixed_logits(self.logits, share=share, temperature=temperature, task=task),
            None if features is None else neighbours(features).lerp(features, share),
        )


def last_linear(model: nn.Module) -> nn.Linear:
    """The layer that gives a classifier's logits: the last linear one.

    Raises:
        ConfigError: if there is none.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ConfigError(
            f"a {type(model).__name__} has no linear layer, so it has no features before one; set "
            "distill.features=0, or take a classifier that ends in one"
        )
    return linear[-1]


@contextmanager
def features_of(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collects, one for each call of the model in here, what its last linear layer is given: (N, C).

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
    >>> with features_of(model) as features:
    ...     _ = model(torch.tensor([[[1.0], [2.0]]]))
    >>> features
    [tensor([[1., 2.]])]
    """
    features: list[Tensor] = []
    handle = last_linear(model).register_forward_pre_hook(lambda _, given: features.append(given[0]))
    try:
        yield features
    finally:
        handle.remove()
