"""Compilers are found or asked for, and what they refuse is said in one line."""

import ctypes
import re
import sys

import pytest

import mobileone.c_compiler as module
from mobileone.c_compiler import (
    TARGETS,
    compile_c,
    compiled_library,
    find_compiler,
    find_target,
    library_suffix,
    machine_compiler,
    zig_compiler,
)
from mobileone.errors import ConfigError, ExportError, MissingExtraError


def test_cc_names_the_compiler(monkeypatch):
    monkeypatch.setenv("CC", f"{sys.executable} -m something")
    assert find_compiler() == [sys.executable, "-m", "something"]
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    with pytest.raises(ConfigError, match="CC names the C compiler 'no-such-compiler', which is not there"):
        find_compiler()
    monkeypatch.setenv("CC", "gcc '")
    with pytest.raises(
        ConfigError, match='CC is no command, No closing quotation: "gcc \'"; name a C compiler'
    ):
        find_compiler()


def test_zig_is_taken_where_nothing_else_is(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    assert machine_compiler() is None
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


def test_a_library_is_compiled_once_and_again_when_its_code_changes(tmp_path, monkeypatch, compiler):
    command = [compiler, "-shared", "-fPIC"]
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    source, header = tmp_path / "x.c", tmp_path / "x.h"
    source.write_text('#include "x.h"\nint f(void) { return X; }\n')
    made = []
    for value in (1, 1, 2):
        header.write_text(f"#define X {value}\n")
        library = compiled_library(source, command, header=header)
        made.append(library)
        assert ctypes.CDLL(str(library)).f() == value
    assert made[0] == made[1] != made[2]
