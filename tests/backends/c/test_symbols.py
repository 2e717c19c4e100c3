"""Names of a generated file's functions, and who sees them."""

import subprocess
from dataclasses import replace

import numpy as np
import pytest

from mobileone.backends.artifact import Artifact
from mobileone.backends.c.c_text import c_string, string_array
from mobileone.backends.c.generator import generate
from mobileone.backends.c.integers import run_integers
from mobileone.backends.c.library import build, renamed
from mobileone.backends.c.symbols import CSymbols
from mobileone.c_compiler import library_suffix
from mobileone.errors import ConfigError


@pytest.mark.parametrize("prefix", ["", "9net", "a-b", "a b", "int", "ä", "_x", "net\n"])
def test_prefixes_that_are_no_names(prefix):
    with pytest.raises(ConfigError, match="the prefix must be a C identifier that starts with a letter, got"):
        CSymbols(prefix=prefix)


def test_a_visibility_that_does_not_exist():
    with pytest.raises(ConfigError, match="must be one of public, hidden, static, got 'secret'"):
        CSymbols(visibility="secret")


def test_names_of_classes_titles_and_files_are_nobodys_prefix(make_network):
    """Whatever began like the prefix, or like its placeholder in the templates, was replaced in them too."""
    quantized = make_network((8, 8, 8, 8), num_classes=3)
    classes = ("PREFIX fish", 'say "PREFIX_UPPER_x"', "cat_food")
    quantized = replace(quantized, layers=replace(quantized.layers, class_names=classes))
    title = "the PREFIX_net of cat_food"
    source = generate(quantized, symbols=CSymbols(prefix="cat"), header_name="PREFIX_1.h", title=title)
    assert source.code.startswith(f"/* {title}. Made by")
    for code, prefix in ((source.code, "cat"), (renamed(source.code, "cat", "dog"), "dog")):
        assert string_array("class_names", classes) in code
        assert f'{title}"\n' in code, "the version's text"
        assert '#include "PREFIX_1.h"' in code
        assert f"int {prefix}_run(" in code
        assert f'"no threads: compile with " NAME_OF({prefix.upper()}_THREADS)' in code


def test_weights_that_look_like_the_prefix_stay():
    """They are string literals too."""
    weights = f"int8_t w[] = {c_string('-a_')};"
    assert renamed(f"{weights} int a_run(void);", "a", "cat") == f"{weights} int cat_run(void);"


def names_of(library):
    listed = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True)
    return {line.split()[-1] for line in listed.stdout.splitlines()}


@pytest.mark.parametrize("visibility", ["public", "hidden", "static"])
def test_who_sees_the_functions(little, compiler, tmp_path, visibility):
    """A library with one function of its own, that calls the network: what can others call?"""
    source = generate(little, symbols=CSymbols(prefix="camera", visibility=visibility), header_name="net.h")
    (tmp_path / "net.c").write_text(source.code, encoding="utf-8")
    (tmp_path / "net.h").write_text(source.header, encoding="utf-8")
    included = "net.c" if visibility == "static" else "net.h"
    (tmp_path / "own.c").write_text(
        f'#include "{included}"\nint own(void) {{ return camera_num_outputs(); }}\n'
    )
    files = ["own.c", *([] if visibility == "static" else ["net.c"])]
    command = [compiler, "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, *files, "-o", "libown.so"], cwd=tmp_path, check=True)
    names = names_of(tmp_path / "libown.so")
    assert "own" in names
    assert ("camera_run" in names) == (visibility == "public")


@pytest.mark.parametrize("visibility", ["hidden", "static"])
def test_sessions_and_libraries_call_them_all_the_same(
    int8_file, quantized, other_pictures, compiler, tmp_path, visibility
):
    path = int8_file("c", CSymbols(prefix="camera", visibility=visibility))
    assert "camera_run(" in path.with_suffix(".h").read_text(encoding="utf-8")
    wanted = [run_integers(quantized, each.permute(1, 2, 0).numpy()).outputs for each in other_pictures]
    np.testing.assert_array_equal(Artifact(path, threads=1).logits(other_pictures).numpy(), np.stack(wanted))
    built = build(path, tmp_path / f"libdog{library_suffix()}", prefix="dog").path
    assert "dog_run" in names_of(built)
    if visibility == "static":
        with pytest.raises(ConfigError, match=r"functions of camera\.c are static, so an object file"):
            build(path, tmp_path / "dog2.o")
        assert not (tmp_path / "dog2.o").exists()
    else:
        assert build(path, tmp_path / "dog2.o").path.exists()
