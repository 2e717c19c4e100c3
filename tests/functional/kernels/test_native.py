import ctypes
import warnings

import pytest
import torch

from mobileone.functional.kernels import native


def test_a_library_is_compiled_once_and_then_found(no_kernels_yet):
    assert native.load("affine", torch.float32) is not None
    (library,) = no_kernels_yet.iterdir()
    stamp = library.stat().st_mtime_ns
    native.load.cache_clear()
    assert native.load("affine", torch.float32) is not None
    assert [*no_kernels_yet.iterdir()] == [library]
    assert library.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("compiler", "why"),
    [
        ("false", "the C compiler false failed on .*affine.c: no message"),
        (
            "there-is-no-such-compiler",
            "CC names the C compiler 'there-is-no-such-compiler', which is not there.*",
        ),
        ("gcc '", "CC is no command, No closing quotation.*"),
    ],
)
def test_without_a_compiler_it_says_so_once_and_gives_none(no_kernels_yet, monkeypatch, compiler, why):
    monkeypatch.setenv("CC", compiler)
    with pytest.warns(RuntimeWarning, match=rf"kernels are not available \({why}\); .*gcc or clang") as told:
        assert native.load("affine", torch.float32) is None
    assert "\n" not in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.load("depthwise_moments", torch.float64) is None


def test_cc_names_the_compiler_and_zig_takes_no_ones_place(no_kernels_yet, monkeypatch, compiler):
    monkeypatch.setenv("CC", f"{compiler} -DUNUSED='a b'")
    assert native.load("affine", torch.float32) is not None
    native.load.cache_clear()
    monkeypatch.setattr(native, "machine_compiler", lambda: None)
    with pytest.warns(RuntimeWarning, match=r"not available \(no C compiler found\)"):
        assert native.load("affine", torch.float32) is None


def test_a_cache_folder_that_cannot_be_written_is_no_obstacle(no_kernels_yet, monkeypatch):
    no_kernels_yet.write_text("")
    assert native.load("affine", torch.float32) is not None


def test_no_home_is_no_obstacle(no_kernels_yet, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MOBILEONE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("mobileone.cache.Path.home", no_home)
    assert native.load("affine", torch.float32) is not None


def test_a_function_short_of_memory_raises(tmp_path):
    source = tmp_path / "short.c"
    source.write_text("int short_of_memory(void) { return 1; }\n")
    library = native.compiled(source)
    assert isinstance(library, ctypes.CDLL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "load", lambda *_: library)
        with pytest.raises(MemoryError, match="short_of_memory: out of memory"):
            native.call("short", "short_of_memory", torch.float32)


def test_a_source_that_does_not_compile_is_named_in_one_line(no_kernels_yet, tmp_path):
    (tmp_path / "wrong.c").write_text("int wrong(void) { return nothing; }\n")
    with pytest.raises(native.BuildError, match=r"failed on .*wrong.c: .*error.*nothing") as caught:
        native.compiled(tmp_path / "wrong.c")
    assert "\n" not in str(caught.value)
