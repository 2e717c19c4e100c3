"""Limits are numbers of one table, and each can be set."""

from pathlib import Path

import pytest

from mobileone.errors import ConfigError
from mobileone.limits import IMAGE_PIXELS, LIMITS


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.name)
def test_limits_are_set_by_their_variable(limit, monkeypatch):
    monkeypatch.delenv(limit.variable, raising=False)
    assert limit.value == limit.default
    monkeypatch.setenv(limit.variable, "17")
    assert limit.value == 17
    assert str(limit) == f"17 (${limit.variable} sets it)"


@pytest.mark.parametrize("text", ["", "0", "-1", "1e9", "many", "²", "1" * 30])
def test_limits_that_are_no_number_are_refused(text, monkeypatch):
    monkeypatch.setenv(IMAGE_PIXELS.variable, text)
    with pytest.raises(ConfigError, match=r"^\$MOBILEONE_MAX_IMAGE_PIXELS must be a whole number"):
        _ = IMAGE_PIXELS.value


def test_the_page_on_security_has_every_limit_with_its_default():
    page = (Path(__file__).parents[1] / "docs" / "security.md").read_text(encoding="utf-8")
    for limit in LIMITS:
        assert f"| `{limit.variable}` | {limit.default:,} | {limit.what} |" in page
