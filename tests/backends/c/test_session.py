"""A .c file is an artifact like the others: compiled once, then called."""

import os
import subprocess
import sys

import numpy as np
import pytest

from mobileone.backends.artifact import Artifact
from mobileone.backends.c.generator import generate
from mobileone.backends.c.integers import run_integers
from mobileone.backends.c.session import CNetwork, prefix_of
from mobileone.backends.c.symbols import CSymbols
from mobileone.c_compiler import FLAGS, compiled_library
from mobileone.errors import ArtifactError, ExportError


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("MOBILEONE_CACHE", str(folder))
    return folder


def test_logits_are_the_integers_logits(int8_file, quantized, other_pictures, own_cache, compiler):
    path = int8_file("c")
    wanted = [run_integers(quantized, each.permute(1, 2, 0).numpy()).outputs for each in other_pictures]
    for threads in (1, 2):
        artifact = Artifact(path, threads=threads)
        assert artifact.session.runtime.startswith("C (")
        np.testing.assert_array_equal(artifact.logits(other_pictures).numpy(), np.stack(wanted))


def test_the_library_is_compiled_once(int8_file, own_cache, compiler, monkeypatch):
    path = int8_file("c")
    (library,) = (own_cache / "c").iterdir()
    made = library.stat().st_mtime_ns
    Artifact(path, threads=1)
    assert [(each, each.stat().st_mtime_ns) for each in (own_cache / "c").iterdir()] == [(library, made)]


def test_a_compiler_error_names_the_file(int8_file, own_cache, compiler, monkeypatch):
    path = int8_file("c")
    source = path.with_name("broken.c")
    source.write_text(path.read_text(encoding="utf-8") + "\n#error stop\n", encoding="utf-8")
    path.with_suffix(".h").rename(source.with_suffix(".h"))
    with pytest.raises(ExportError, match=r"failed on .*broken\.c: .*(int8\.h|stop)"):
        compiled_library(source, [compiler, *FLAGS, "-shared", "-fPIC"], header=source.with_suffix(".h"))


def test_the_header_tells_the_prefix(little, tmp_path):
    header = tmp_path / "net.h"
    with pytest.raises(ArtifactError, match=r"net\.h cannot be read: .*beside the \.c file"):
        prefix_of(header)
    header.write_text("int main(void);\n")
    with pytest.raises(ArtifactError, match="no header of a generated network"):
        prefix_of(header)
    header.write_text(generate(little, symbols=CSymbols(prefix="camera")).header, encoding="utf-8")
    assert prefix_of(header) == "camera"


FORKED = """
import os, signal, sys, time
import numpy as np
from pathlib import Path
from mobileone.backends.c.session import CNetwork

network = CNetwork(Path(sys.argv[1]), "mobileone_net", threads=2)
image = np.zeros((1, 67, 67, 3), np.uint8)
before = network.logits(image)
time.sleep(0.3)  # until the other thread sleeps
child = os.fork()
if not child:
    signal.alarm(30)  # the end of one that hangs
    sys.exit(not (network.logits(image) == before).all())
_, status = os.waitpid(child, 0)
sys.exit(f"the child ended with {status}" if status else None)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes_and_ends(little_library):
    """It has none of the parent's threads; when it ended it waited for ever for those that slept."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED]
    done = subprocess.run([*command, little_library._library._name], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_images_of_another_shape(little_library):
    with pytest.raises(ArtifactError, match=r"takes uint8 \(N, 67, 67, 3\), got \(1, 67, 66, 3\)"):
        little_library.logits(np.zeros((1, 67, 66, 3), np.uint8))
    with pytest.raises(ArtifactError, match="takes uint8"):
        little_library.logits(np.zeros((1, 67, 67, 3), np.float32))


def test_kernels_that_are_not_there(little_library):
    with pytest.raises(ArtifactError, match="kernels sse9: no kernels of that name"):
        little_library.use_kernels("sse9")


def test_a_library_that_is_no_network(tmp_path, compiler, compile_source, little):
    source = tmp_path / "x.c"
    source.write_text("int x;\n")
    library = compiled_library(source, [compiler, "-shared", "-fPIC"])
    with pytest.raises(ArtifactError, match="no network of prefix 'mobileone_net'"):
        CNetwork(library, "mobileone_net")
