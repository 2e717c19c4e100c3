"""Libraries for this machine compute the same; those for others are what their systems expect."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from mobileone.backends.c.integers import run_integers
from mobileone.backends.c.library import build
from mobileone.backends.c.session import CNetwork
from mobileone.backends.manifest import read_manifest
from mobileone.c_compiler import TARGETS, library_suffix
from mobileone.errors import ArtifactError, ConfigError, ExportError, MobileOneError

SHARED = library_suffix()
MAGIC = {
    "x86_64-linux": b"\x7fELF",
    "aarch64-linux": b"\x7fELF",
    "aarch64-android": b"\x7fELF",
    "aarch64-macos": b"\xcf\xfa\xed\xfe",
    "x86_64-windows": b"MZ",
    "wasm32": b"\0asm",
}


@pytest.fixture
def net(int8_file, compiler):
    return int8_file("c")


def test_a_library_with_a_name_of_its_own(net, quantized, other_pictures, tmp_path):
    done = build(net, tmp_path / "out" / f"libcat{SHARED}", prefix="cat", threads=True)
    assert done.header.read_text(encoding="utf-8").count("mobileone_net") == 0
    network = CNetwork(done.path, "cat", threads=2)
    images = other_pictures.permute(0, 2, 3, 1).numpy()
    wanted = np.stack([run_integers(quantized, image).outputs for image in images])
    np.testing.assert_array_equal(network.logits(images), wanted)


def test_without_threads_the_library_starts_none(net, tmp_path):
    library = ctypes.CDLL(str(build(net, tmp_path / f"libnet{SHARED}").path))
    library.mobileone_net_threads_start.restype = ctypes.c_void_p
    assert library.mobileone_net_threads_start(2) is None


def test_source_and_object_files(net, tmp_path, compiler):
    source = build(net, tmp_path / "dog.c", prefix="dog").path
    subprocess.run([compiler, "-fsyntax-only", "-Wall", "-Wextra", "-Werror", str(source)], check=True)
    made = build(net, tmp_path / "dog2.o", prefix="dog").path
    assert made.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        (f"net{SHARED}", {"target": "vax"}, "target must be one of"),
        ("net.txt", {}, r"is called \*\.\w+, \*\.o or \*\.c here, got net\.txt"),
        (f"net{SHARED}", {"prefix": "9"}, "C identifier"),
        ("int8.c", {"force": True}, "is the artifact itself"),
        ("there.o", {}, "exists already"),
        ("headed.o", {}, r"headed\.h exists already"),
        ("new/../int8.c", {"force": True}, "is the artifact itself"),
        (f"int8{SHARED}", {"prefix": "cat", "force": True}, "is the artifact's own, which has prefix"),
    ],
)
def test_bad_input(net, output, options, message):
    for name in ("there.o", "headed.h"):
        (net.parent / name).touch()
    before = {path: path.read_bytes() for path in net.parent.iterdir()}
    with pytest.raises(ConfigError, match=message):
        build(net, net.parent / output, **options)
    assert {path: path.read_bytes() for path in net.parent.iterdir()} == before


def test_a_library_beside_its_artifact_leaves_that_as_it_is(net):
    done = build(net, net.with_suffix(SHARED))
    assert done.header == net.with_suffix(".h")
    read_manifest(net)


def test_only_source_that_belongs_to_its_manifest(net, tmp_path):
    with pytest.raises(ConfigError, match=r"takes a network as C source, \*\.c, got net\.onnx"):
        build(tmp_path / "net.onnx", tmp_path / f"x{SHARED}")
    net.write_text(net.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        build(net, tmp_path / f"x{SHARED}")


def test_a_compiler_that_fails_leaves_nothing(net, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", f"{sys.executable} -c exit(3)")
    with pytest.raises(ExportError, match="failed on"):
        build(net, tmp_path / "new" / f"x{SHARED}")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_other_systems(net, tmp_path, target):
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    path = tmp_path / f"libnet{TARGETS[target].suffix}"
    build(net, path, target=target, threads=target != "wasm32")
    content = path.read_bytes()
    assert content.startswith(MAGIC[target])
    assert b"mobileone_net_run" in content
    assert b"mobileone_net_class_map" in content
    assert (b"libc.so\0" in content) == (target == "aarch64-android")


def test_targets_need_their_compiler(net, tmp_path, monkeypatch):
    import mobileone.c_compiler as module

    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MobileOneError, match=r"pip install 'mobileone\[c\]'"):
        build(net, tmp_path / "libnet.so", target="aarch64-linux")
