"""RandAugment (arXiv 1909.13719) and TrivialAugment (arXiv 2103.10158): operations drawn without a table."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mobileone.data.auto_augment import check_strength
from mobileone.data.operations import Operation
from mobileone.errors import ConfigError

CHOICES = (
    "identity",
    "auto_contrast",
    "equalize",
    "rotate",
    "solarize",
    "color",
    "posterize",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
"""The 14 operations of both papers."""

MAX_LEVEL = 30
"""RandAugment's magnitude that spans the whole range of an operation."""

# TrivialAugment's "wide" ranges, as shares of AutoAugment's: 135 degrees, shear 0.99, 32 of 224 pixels,
# factors up to 1.99, 2 bits left.
WIDE = {
    "rotate": 135 / 30,
    "shear_x": 0.99 / 0.3,
    "shear_y": 0.99 / 0.3,
    "translate_x": 32 / 224 * 331 / 150,
    "translate_y": 32 / 224 * 331 / 150,
    "brightness": 1.1,
    "color": 1.1,
    "contrast": 1.1,
    "sharpness": 1.1,
    "posterize": 1.5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RandAugment:
    """`num_operations` of 14, drawn with replacement, all at one magnitude, in a random direction.

    Attributes:
        num_operations: for each image, at least 1.
        magnitude: 0 (nothing) to 30 (AutoAugment's whole range); operations without a magnitude are not
            affected.
        strength: factor on the magnitude, in (0, 1].

    Raises:
        ConfigError: on values out of range.

    >>> [op.name for op in RandAugment().draw(torch.Generator().manual_seed(0))]
    ['translate_y', 'posterize']
    """

    num_operations: int = 2
    magnitude: float = 9.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if self.num_operations < 1:
            raise ConfigError(f"RandAugment needs 1 operation or more, got {self.num_operations}")
        if not 0 <= self.magnitude <= MAX_LEVEL:
            raise ConfigError(f"RandAugment's magnitude must be in 0..{MAX_LEVEL}, got {self.magnitude}")

    def draw(self, generator: torch.Generator) -> tuple[Operation, ...]:
        """The operations for one image; 2 numbers are drawn for each."""
        share = self.magnitude / MAX_LEVEL * self.strength
        draws = torch.rand(self.num_operations, 2, dtype=torch.float64, generator=generator).tolist()
        return tuple(
            Operation(CHOICES[int(which * len(CHOICES))], share if sign < 0.5 else -share)
            for which, sign in draws
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrivialAugment:
    """One operation of 14, at a magnitude uniform over its range; nothing to tune. The "wide" ranges.

    Attributes:
        strength: factor on the magnitude, in (0, 1].

    Raises:
        ConfigError: on a strength out of range.

    >>> len(TrivialAugment().draw(torch.Generator().manual_seed(0)))
    1
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def draw(self, generator: torch.Generator) -> tuple[Operation, ...]:
        """The operation for one image; 3 numbers are drawn."""
        which, level, sign = torch.rand(3, dtype=torch.float64, generator=generator).tolist()
        name = CHOICES[int(which * len(CHOICES))]
        # 31 levels, as in the paper's code.
        share = int(level * (MAX_LEVEL + 1)) / MAX_LEVEL * WIDE.get(name, 1.0) * self.strength
        return (Operation(name, share if sign < 0.5 else -share),)
