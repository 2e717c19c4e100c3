"""The machine's side of a run: the rules of its fields."""

from collections.abc import Callable

import pytest

from mobileone.errors import ConfigError
from mobileone.training.config.interval import Interval
from mobileone.training.config.resources import Compute, Loading, Saving


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Compute(amp="fp8"), r"compute\.amp must be one of auto, off, bf16, fp16, got 'fp8'"),
        (lambda: Compute(branch_mode="fast"), "branch_mode must be one of auto, branches, online"),
        (lambda: Compute(accumulate=0), r"compute\.accumulate must be at least 1"),
        (lambda: Loading(num_workers=-1), r"loading\.num_workers must be 0 or more"),
        (lambda: Loading(on_bad_image="ignore"), r"loading\.on_bad_image must be one of error, skip"),
        (lambda: Saving(checkpoint_every="1h"), "1000s, 500steps or none"),
        (lambda: Saving(keep_checkpoints=0), r"saving\.keep_checkpoints must be at least 1"),
        (lambda: Saving(weights_suffix=".bin"), r"saving\.weights_suffix must be one of \.safetensors, \.pt"),
    ],
)
def test_values_out_of_range_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_interval_is_the_one_that_was_written() -> None:
    assert Saving(checkpoint_every="500steps").interval == Interval(steps=500)
