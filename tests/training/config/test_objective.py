"""What training minimises: the rules of its fields."""

from collections.abc import Callable

import pytest

from mobileone.errors import ConfigError
from mobileone.training.config.objective import Distill, Mix, Objective


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Objective(loss="mse"), r"objective\.loss must be one of auto, .*, got 'mse'"),
        (lambda: Objective(label_smoothing=1.0), r"objective\.label_smoothing must be in \[0, 1\)"),
        (lambda: Objective(class_weights=(-1.0, 1.0)), r"objective\.class_weights must be none, balanced"),
        (lambda: Objective(class_weights=(0.0, 0.0)), r"objective\.class_weights must be none, balanced"),
        (lambda: Objective(class_weights="equal"), r"objective\.class_weights must be none, balanced"),
        (lambda: Mix(mixup=-0.1), r"mix\.mixup must be 0 or more, got -0\.1"),
        (lambda: Mix(cutmix=float("nan")), r"mix\.cutmix must be 0 or more, got nan"),
        (lambda: Mix(probability=0.0), r"mix\.probability must be in \(0, 1\]"),
        (lambda: Distill(weight=0.0), r"distill\.weight must be in \(0, 1\]"),
        (lambda: Distill(temperature=0.0), r"distill\.temperature must be above 0"),
        (lambda: Distill(features=-1.0), r"distill\.features must be 0 or more"),
    ],
)
def test_values_out_of_range_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_mixing_is_on_with_either_of_its_kinds() -> None:
    assert [m.is_on for m in (Mix(), Mix(mixup=0.1), Mix(cutmix=1.0))] == [False, True, True]
