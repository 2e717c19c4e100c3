from mobileone.cache import cache_dir


def test_the_variable_then_xdgs_folder_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("MOBILEONE_CACHE")
    assert cache_dir() == tmp_path / "mobileone"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "mobileone"
