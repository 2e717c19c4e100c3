"""Rates, decay and momentum: the rules of their fields."""

import math

import pytest

from mobileone.errors import ConfigError
from mobileone.training.config.optimization import Optim


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_lr", 0.0),
        ("base_lr", math.nan),
        ("min_lr", -1.0),
        ("warmup_epochs", -1.0),
        ("momentum", 1.0),
        ("weight_decay", math.inf),
        ("weight_decay_end", -1e-9),
        ("clip_norm", -1.0),
        ("ema_decay", 1.0),
        ("name", "adam"),
        ("schedule", "step"),
        ("cooldown", 1.0),
        ("beta2", 1.0),
        ("layer_decay", 0.0),
        ("layer_decay", 1.5),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"optim\.{field} must be .*, got {value!r}"):
        Optim(**{field: value})


def test_nothing_may_be_zero_but_what_would_not_learn() -> None:
    Optim(min_lr=0, warmup_epochs=0, momentum=0, weight_decay=0, weight_decay_end=0, clip_norm=0, ema_decay=0)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_sgds_learning_rate_is_refused_where_steps_are_as_long_as_it_says(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"base_lr must be at most 0.05 with {name} \(0.001 is usual"):
        Optim(name=name)  # type: ignore[arg-type]
    assert Optim(name=name, base_lr=0.001).base_lr == 0.001  # type: ignore[arg-type]
