"""How values are refused."""

import pytest

from mobileone.errors import ConfigError
from mobileone.training.config.rules import is_finite_from, require, require_choice


def test_the_message_has_field_wanted_and_got() -> None:
    with pytest.raises(ConfigError, match=r"^epochs must be at least 1, got 0$"):
        require("epochs", False, "at least 1", 0)
    require("epochs", True, "at least 1", 1)


def test_a_choice_is_one_of_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"^amp must be one of off, bf16, got 'fp8'$"):
        require_choice("amp", "fp8", ("off", "bf16"))
    require_choice("amp", "off", ("off", "bf16"))


def test_the_least_value_is_allowed_and_nan_is_not() -> None:
    assert is_finite_from(0.0, 0)
    assert not is_finite_from(float("nan"), 0)
    assert not is_finite_from(float("inf"), 0)
