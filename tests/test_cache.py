from pathlib import Path

import pytest

from mobileone.cache import cache_dir
from mobileone.errors import ConfigError


def test_the_variable_then_xdgs_folder_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("MOBILEONE_CACHE")
    assert cache_dir() == tmp_path / "mobileone"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "mobileone"


def test_without_a_home_it_says_what_to_set(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MOBILEONE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(ConfigError, match=r"no home folder to cache in; set \$MOBILEONE_CACHE"):
        cache_dir()
