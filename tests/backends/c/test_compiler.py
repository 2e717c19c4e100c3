"""Compilers are found or asked for, and what they refuse is said in one line."""

import re
import sys

import pytest

from mobileone.backends.c import compiler as module
from mobileone.backends.c.compiler import (
    TARGETS,
    compile_c,
    find_compiler,
    find_target,
    library_suffix,
    zig_compiler,
)
from mobileone.errors import ConfigError, ExportError, MissingExtraError


def test_cc_names_the_compiler(monkeypatch):
    monkeypatch.setenv("CC", f"{sys.executable} -m something")
    assert find_compiler() == [sys.executable, "-m", "something"]
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    with pytest.raises(ConfigError, match="CC names the C compiler 'no-such-compiler', which is not there"):
        find_compiler()


def test_zig_is_taken_where_nothing_else_is(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    assert find_compiler() == zig_compiler() == [sys.executable, "-m", "ziglang", "cc"]
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=re.escape("no C compiler found")):
        find_compiler()
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'mobileone[c]'")):
        zig_compiler()


def test_what_the_compiler_refuses(tmp_path, compiler):
    source, library = tmp_path / "bad.c", tmp_path / "bad.so"
    source.write_text("int x = 1;\nint f(void) { return y; }\n")
    with pytest.raises(ExportError, match=rf"C compiler {compiler} failed on .*bad\.c: .*bad\.c:2:.*error"):
        compile_c([compiler, "-shared", "-fPIC"], source, library)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.c"]


def test_a_compiler_that_does_not_run(tmp_path):
    source = tmp_path / "x.c"
    source.write_text("")
    with pytest.raises(ExportError, match="did not run on"):
        compile_c(["/no/such/compiler"], source, tmp_path / "x.so")


def test_targets():
    assert find_target("wasm32").suffix == ".wasm"
    assert [name for name, target in TARGETS.items() if name != target.name] == []
    with pytest.raises(ConfigError, match=r"target must be one of x86_64-linux, .*, got 'sparc'"):
        find_target("sparc")
    assert library_suffix() in {target.suffix for target in TARGETS.values()}
