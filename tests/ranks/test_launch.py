"""Which of how many processes this is."""

import pytest

from mobileone.errors import ConfigError
from mobileone.ranks.launch import Launch, ranks_here, read_launch


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, Launch(0, 0, 1, 1)),
        ({"WORLD_SIZE": "4", "RANK": "2"}, Launch(2, 0, 4, 4)),
        ({"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, Launch(3, 1, 4, 2)),
    ],
)
def test_as_the_environment_says(monkeypatch, environment, wanted):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert read_launch() == wanted
    assert ranks_here() == wanted.here


def test_what_is_no_rank(monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="RANK is 2, of 2 processes"):
        read_launch()
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ConfigError, match="RANK must be a number, got 'first'"):
        read_launch()
