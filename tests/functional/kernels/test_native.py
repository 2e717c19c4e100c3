import warnings

import pytest
import torch

from mobileone.functional.kernels import native


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """No library loaded, no warning given yet, and an empty cache folder."""
    for cached in (native.load, native._warn):
        monkeypatch.setattr(native, cached.__name__, cached.__class__ and _uncached(cached))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def _uncached(cached):
    import functools

    return functools.cache(cached.__wrapped__)


def test_a_library_is_compiled_once_and_then_found(fresh):
    assert native.load("affine", torch.float32) is not None
    (library,) = (fresh / "mobileone").iterdir()
    stamp = library.stat().st_mtime_ns
    assert native._build(native.SOURCES / "affine.c", native.REALS[torch.float32]) == library
    assert library.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("compiler", ["false", "there-is-no-such-compiler"])
def test_without_a_compiler_it_says_so_once_and_gives_none(fresh, monkeypatch, compiler):
    monkeypatch.setenv("CC", compiler)
    with pytest.warns(RuntimeWarning, match=rf"kernels are not available \({compiler}.*gcc or clang"):
        assert native.load("affine", torch.float32) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.load("depthwise_moments", torch.float64) is None


def test_a_cache_folder_that_cannot_be_written_is_no_obstacle(fresh, monkeypatch):
    (fresh / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "file"))
    assert native.load("affine", torch.float32) is not None
