"""What is done to training images: the rules of its fields."""

import pytest

from mobileone.errors import ConfigError
from mobileone.training.config.augmentation import Augment, Phase


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("crop_scale", (0.5, 0.2), "two rising shares"),
        ("crop_scale", (0.0, 1.0), "two rising shares"),
        ("crop_ratio", (0.0, 1.0), "two rising ratios"),
        ("flip", 1.5, r"in \[0, 1\], got 1\.5"),
        ("interpolation", (), "at least one filter"),
        ("interpolation", ("nearest",), "among bilinear, bicubic"),
        ("policy", "cutout", "one of none, auto, rand, trivial, got 'cutout'"),
        ("strength", 0.0, r"in \(0, 1\]"),
        ("num_operations", 0, "at least 1"),
        ("magnitude", 31.0, r"in \[0, 30\]"),
        ("erasing", 1.5, r"in \[0, 1\]"),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: object, wanted: str) -> None:
    with pytest.raises(ConfigError, match=rf"augment\.{field} must be .*{wanted}"):
        Augment(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [{"until": 1.1, "size": 160}, {"until": 0.5, "size": 0}, {"until": 0.5, "size": 160, "strength": 2.0}],
)
def test_a_phase_that_is_none_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"progressive's .* must be"):
        Phase(**values)  # type: ignore[arg-type]


def test_both_ends_of_every_range_are_allowed() -> None:
    Augment(crop_scale=(1.0, 1.0), flip=1.0, strength=1.0, magnitude=0.0, erasing=1.0)
    Phase(until=0.999, size=1, strength=1.0)
