"""Libraries that wheels bring: those of this system resize as Pillow does, others are named for theirs."""

import subprocess
import sys

import pytest

from mobileone.c_compiler import TARGETS, this_system
from mobileone.images.resample import agreeing
from mobileone.images.resample_library import (
    BROUGHT_SYSTEMS,
    brought_path,
    compile_brought,
    flags_for,
    own_command,
)


@pytest.mark.slow
def test_wheels_bring_what_resizes_here(tmp_path):
    pytest.importorskip("ziglang", reason="needs the extra c")
    made = compile_brought(tmp_path)
    assert made == [brought_path(system, folder=tmp_path) for system in BROUGHT_SYSTEMS]
    assert sorted(tmp_path.iterdir()) == sorted(made)
    if this_system() not in BROUGHT_SYSTEMS:
        pytest.skip(f"wheels bring nothing for {this_system()}")
    assert agreeing(brought_path(this_system(), folder=tmp_path)) is not None


def test_wheels_bring_it_for_systems_that_zig_knows():
    assert set(BROUGHT_SYSTEMS) <= set(TARGETS)
    assert brought_path("x86_64-windows") is None


def test_a_checkout_has_none():
    assert [path for system in BROUGHT_SYSTEMS if (path := brought_path(system)).exists()] == []


def test_vectors_are_asked_for_where_a_processor_may_lack_them(compiler):
    assert "-msse4.1" in flags_for("x86_64-linux")
    assert "-msse4.1" not in flags_for("aarch64-linux")
    assert set(flags_for(this_system())) < set(own_command())


def test_a_build_imports_it_without_numpy():
    """What a wheel's build has in its environment is hatchling, and zig at most."""
    code = "import mobileone.images.resample_library, sys; print({'numpy', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n", done.stderr
