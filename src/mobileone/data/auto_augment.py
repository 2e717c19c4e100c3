"""AutoAugment's ImageNet policy (arXiv 1805.09501, appendix), its magnitudes scaled by one strength.

A policy is 25 pairs of operations, each with a probability and a magnitude level 0..9 that spans the paper's
range of that operation. Operations that can go two ways (rotation, shear, colour …) do so with equal chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mobileone.data.operations import Operation
from mobileone.errors import ConfigError

MAX_LEVEL = 9

# (operation, probability, level); the level of an operation without magnitude is not used.
Step = tuple[str, float, int]
POLICY: tuple[tuple[Step, Step], ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 4), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 7)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 2)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 8), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 2)),
    (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 8)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 9)),
    (("color", 0.4, 0), ("equalize", 0.6, 3)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
)


def draw_operations(strength: float, *, generator: torch.Generator) -> tuple[Operation, ...]:
    """The operations for one image: none, one or two.

    Args:
        strength: factor on all magnitudes, in (0, 1]; operations without a magnitude are not affected.
        generator: 5 numbers are drawn from it.

    Raises:
        ConfigError: on a strength out of range.
    """
    check_strength(strength)
    which, *draws = torch.rand(5, dtype=torch.float64, generator=generator).tolist()
    steps = POLICY[int(which * len(POLICY))]
    return tuple(
        Operation(name, level / MAX_LEVEL * strength * (1 if sign < 0.5 else -1))
        for (name, probability, level), chance, sign in zip(steps, draws[:2], draws[2:], strict=True)
        if chance < probability
    )


@dataclass(frozen=True, slots=True)
class AutoAugment:
    """The policy as a `Policy`.

    Attributes:
        strength: factor on all magnitudes, in (0, 1].
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def draw(self, generator: torch.Generator) -> tuple[Operation, ...]:
        """The operations for one image."""
        return draw_operations(self.strength, generator=generator)


def check_strength(strength: float) -> None:
    """Refuse a strength that is not in (0, 1].

    Raises:
        ConfigError: if it is not.
    """
    if not 0 < strength <= 1:
        raise ConfigError(f"an augmentation policy's strength must be in (0, 1], got {strength}")
