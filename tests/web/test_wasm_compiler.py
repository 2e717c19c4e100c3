"""Modules for a page: a memory that may be shared, nothing else from outside, the same integers."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mobileone import c_compiler
from mobileone.backends.c.library import build
from mobileone.errors import ExportError, MissingExtraError
from mobileone.exporting.parity import seeded_pictures
from mobileone.quantization.quantize import quantize
from mobileone.web.wasm_compiler import compile_network, compile_pixels

MAGIC = b"\0asm"


@pytest.fixture(scope="module")
def net(tmp_path_factory, small_network):
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    path = tmp_path_factory.mktemp("net") / "some net.c"
    quantize(small_network, path, images=seeded_pictures(small_network.input_spec, number=4), format="c")
    return path


def test_a_network_gives_its_integers_with_shared_and_with_own_memory(net, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("needs node")
    from mobileone.backends.artifact import Artifact

    compile_network(net, tmp_path / "net.wasm")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    pixels.tofile(tmp_path / "pixels")
    script = Path(__file__).with_name("run_network.mjs")
    static = Path(c_compiler.__file__).parent / "web" / "static"
    command = ["node", "--experimental-default-type=module", script, static, tmp_path / "net.wasm"]
    done = subprocess.run([*command, tmp_path / "pixels"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["imports"] == ["env.memory"]
    wanted = Artifact(net, threads=1).run(pixels)[0]
    for kind in ("own", "shared"):
        np.testing.assert_array_equal(np.array(found[kind], np.float32), wanted)


@pytest.mark.parametrize("name", ["network.c", "stdlib.c"])
def test_a_network_may_be_called_as_our_own_sources(net, tmp_path, name):
    source = build(net, tmp_path / name).path
    compile_network(source, tmp_path / "net.wasm")
    assert (tmp_path / "net.wasm").stat().st_size > 10_000


def test_threads_that_fall_asleep_while_their_number_changes_wake_up(net, tmp_path):
    """Between a thread's last look and its sleep lie nanoseconds, in which the word to leave was lost, once
    in hundreds of changes, for good. They are long here. No test shows that no other gap is left."""
    if shutil.which("node") is None:
        pytest.skip("needs node")
    code, found = re.subn(
        r"(if \(!has_changed\(t, begun, done\)\)) (__builtin_wasm_memory_atomic_wait32\(.*\);)",
        r"\1 { for (volatile int i = 0; i < 20000000; i++) continue; \2 }",
        net.read_text(encoding="utf-8"),
    )
    assert found == 1
    path = tmp_path / net.name
    path.write_text(code, encoding="utf-8")
    shutil.copy(net.with_suffix(".h"), tmp_path)
    compile_network(path, tmp_path / "net.wasm")
    script = Path(__file__).with_name("change_threads.mjs")
    subprocess.run(["node", script, tmp_path / "net.wasm", "20"], check=True, timeout=60)


def test_what_compilers_refuse_is_one_line_and_leaves_nothing(net, tmp_path):
    broken = tmp_path / "broken.c"
    broken.write_text(net.read_text(encoding="utf-8").replace(f'"{net.stem}.h"', '"broken.h"') + "\nint 1;\n")
    shutil.copy(net.with_suffix(".h"), tmp_path / "broken.h")
    with pytest.raises(ExportError, match="failed on"):
        compile_network(broken, tmp_path / "broken.wasm")
    assert not (tmp_path / "broken.wasm").exists()


def test_the_resizing_module_is_small(tmp_path):
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    compile_pixels(tmp_path / "pixels.wasm")
    content = (tmp_path / "pixels.wasm").read_bytes()
    assert content.startswith(MAGIC)
    assert len(content) < 4096


def test_without_the_compiler_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(c_compiler, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mobileone\[c\]'"):
        compile_pixels(tmp_path / "pixels.wasm")
