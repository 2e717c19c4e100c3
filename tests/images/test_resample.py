"""Resizing in C is Pillow's, to the byte, and touches nothing else; and what is done without."""

import shutil
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobileone.c_compiler import compile_c, this_system
from mobileone.errors import ConfigError, ExportError, MobileOneWarning
from mobileone.images import resample as module
from mobileone.images.resample import (
    Library,
    Resampler,
    agreeing,
    by_pillow,
    goes_down_first,
    resample,
)
from mobileone.images.resample_library import FLAGS, SOURCE, flags_for, own_command


@pytest.fixture(scope="module")
def library(compiler, tmp_path_factory):
    path = tmp_path_factory.mktemp("library") / "resample.so"
    compile_c(own_command(), SOURCE, path)
    return Library(path)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def black_and_white(height, width, seed=0):
    """Where a filter's negative weights go beyond a byte's ends."""
    return np.where(noise(height, width, seed) < 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("picture", [noise, black_and_white])
@pytest.mark.parametrize(
    ("shape", "size", "box"),
    [
        ((1000, 1500), (224, 224), (320.3, 62.5, 1195.3, 937.5)),
        ((227, 227), (224, 224), (14.1875, 14.1875, 212.8, 212.8)),
        ((500, 333), (1, 1), (0, 0, 333, 500)),
        ((1, 1), (17, 5), (0, 0, 1, 1)),
        ((3, 900), (40, 41), (0.25, 0.5, 899.75, 2.5)),
        ((900, 2), (3, 2), (0, 0, 2, 900)),
        ((1500, 1000), (224, 224), (62.5, 320.3, 937.5, 1195.3)),
        ((160, 20), (40, 10), (1.5, 2.25, 18.0, 159.0)),
        ((64, 64), (64, 64), (0, 0, 64, 64)),
        ((64, 65), (64, 33), (0, 0, 65, 64)),
    ],
)
def test_every_byte_is_pillows(library, shape, size, box, interpolation, picture):
    given = picture(*shape), size, interpolation, box
    assert np.array_equal(library(*given), by_pillow(*given))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_part_of_any_picture_to_any_size(library, data):
    height, width = data.draw(st.integers(1, 80)), data.draw(st.integers(1, 80))
    size = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    sides = []
    for length in (width, height):
        ends = sorted(data.draw(st.lists(st.floats(0, length, width=32), min_size=2, max_size=2)))
        sides.append(ends if ends[1] - ends[0] > 1e-3 else (0, length))
    (left, right), (top, bottom) = sides
    picture = data.draw(st.sampled_from([noise, black_and_white]))(height, width)
    given = picture, size, data.draw(st.sampled_from(["bilinear", "bicubic"])), (left, top, right, bottom)
    assert np.array_equal(library(*given), by_pillow(*given))


def test_pillows_order_is_found_out():
    assert goes_down_first() == (int(PIL.__version__.split(".")[0]) >= 13)


def test_pixels_that_do_not_lie_one_after_another(library):
    turned = np.rot90(noise(40, 50))
    given = (9, 8), "bicubic", (1.5, 2.5, 38.0, 47.0)
    assert np.array_equal(library(turned, *given), by_pillow(np.ascontiguousarray(turned), *given))


GUARDED = """
import ctypes, mmap, sys
from pathlib import Path
import numpy as np
from mobileone.images.resample import Library, by_pillow
library, page = Library(Path(sys.argv[1])), mmap.PAGESIZE
block = mmap.mmap(-1, 3 * page)
bytes_ = np.frombuffer(block, np.uint8)
bytes_[:] = np.arange(3 * page) * 37 % 251
for number in (0, 2):
    place = ctypes.c_void_p(bytes_.ctypes.data + number * page)
    assert ctypes.CDLL(None).mprotect(place, ctypes.c_size_t(page), 0) == 0
for height, width in ((5, 7), (1, 40), (40, 1), (4, 4)):
    size = 3 * height * width
    for begin in (page, 2 * page - size):
        pixels = bytes_[begin : begin + size].reshape(height, width, 3)
        for filter in ("bilinear", "bicubic"):
            for new in ((3, 3), (9, 11)):
                given = pixels, new, filter, (0, 0, width, height)
                assert np.array_equal(library(*given), by_pillow(*given))
print("within")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by a call of Linux's")
def test_it_reads_nothing_before_or_behind_the_pixels(compiler, tmp_path):
    path = tmp_path / "resample.so"
    compile_c(own_command(), SOURCE, path)
    words = [sys.executable, "-c", GUARDED, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "within\n"), done.stderr


def test_plain_c_computes_the_same(compiler, tmp_path):
    """What a processor without vectors of ours gets."""
    path = tmp_path / "plain.so"
    compile_c([compiler, *FLAGS, "-U__SSE4_1__", "-U__ARM_NEON", "-shared", "-fPIC"], SOURCE, path)
    assert agreeing(path) is not None


RUNNER = """
#include <stdio.h>
#include "%s"
int main(void) {
  static unsigned char from[1 << 16], to[1 << 16];
  int n[6];
  float box[4];
  while (fread(n, 4, 6, stdin) == 6 && fread(box, 4, 4, stdin) == 4) {
    if (!fread(from, 3 * n[0] * n[1], 1, stdin)) return 1;
    if (resample(from, n[0], n[1], box, n[2], n[3], n[4], n[5], to)) return 1;
    fwrite(to, 3 * n[4] * n[5], 1, stdout);
  }
  return 0;
}
"""


@pytest.mark.parametrize("gcc", ["aarch64-linux-gnu-gcc"])
def test_other_processors_compute_the_same(gcc, tmp_path):
    emulator = "qemu-" + gcc.partition("-")[0]
    if not all(map(shutil.which, (gcc, emulator))):
        pytest.skip(f"needs {gcc} and {emulator}")
    source, program = tmp_path / "runner.c", tmp_path / "runner"
    source.write_text(RUNNER % SOURCE)
    compile_c([gcc, *FLAGS, "-Wall", "-Wextra", "-Werror", "-static"], source, program)
    asked, wanted, box = b"", b"", (1.25, 0.5, 38.0, 60.75)
    for bicubic, filter in enumerate(("bilinear", "bicubic")):
        for size in ((9, 7), (70, 45), (3, 40)):
            pixels = black_and_white(61, 40)
            numbers = np.array([61, 40, bicubic, goes_down_first(), *size], np.int32)
            asked += numbers.tobytes() + np.array(box, np.float32).tobytes() + pixels.tobytes()
            wanted += by_pillow(pixels, size, filter, box).tobytes()
    done = subprocess.run([emulator, program], input=asked, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, wanted)


@pytest.mark.parametrize("other", ["gcc", "clang"])
def test_it_compiles_without_a_warning(other, tmp_path):
    if shutil.which(other) is None:
        pytest.skip(f"needs {other}")
    path = tmp_path / "resample.so"
    compile_c(
        [other, *flags_for(this_system()), "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"], SOURCE, path
    )
    assert agreeing(path) is not None


def test_it_is_compiled_once_it_pays_and_kept(own_cache, compiler):
    resampler = Resampler(compile_after=100)
    assert resampler.choose(60) is by_pillow
    assert resampler.choose(60) is resampler.choose(1) is not by_pillow
    (path,) = (own_cache / "c").iterdir()
    made = path.stat().st_mtime_ns
    assert isinstance(Resampler(compile_after=100).choose(1), Library)
    assert path.stat().st_mtime_ns == made


def test_without_a_compiler_pillow_resizes_and_nothing_is_said(own_cache, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("mobileone.c_compiler.find_spec", lambda name: None)
    resampler = Resampler(compile_after=100)
    assert [resampler.choose(90) for _ in range(4)] == [by_pillow] * 4
    assert not own_cache.exists()


def test_a_compiler_that_fails_is_said_once(own_cache, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    resampler = Resampler(compile_after=100)
    assert resampler.choose(90) is by_pillow
    with pytest.warns(MobileOneWarning, match=r"Pillow resizes, which is slower: CC names .*such-compiler"):
        assert resampler.choose(90) is by_pillow
    assert resampler.choose(90) is by_pillow


@pytest.mark.parametrize("error", [PermissionError("closed"), ConfigError("no home directory")])
def test_without_a_cache_pillow_resizes(monkeypatch, error):
    def fails():
        raise error

    monkeypatch.setattr("mobileone.c_compiler.cache_dir", fails)
    resampler = Resampler(compile_after=100)
    assert resampler.choose(90) is by_pillow
    with pytest.warns(MobileOneWarning, match=f"Pillow resizes, which is slower: {error}"):
        assert resampler.choose(90) is by_pillow


def test_a_library_that_computes_something_else_is_not_used(compiler, tmp_path):
    source, path = tmp_path / "resample.c", tmp_path / "resample.so"
    source.write_text(SOURCE.read_text().replace("a = -0.5", "a = -0.75"))
    compile_c([compiler, *FLAGS, "-shared", "-fPIC"], source, path)
    with pytest.warns(MobileOneWarning, match=r"resample\.so does not do as Pillow [\d.]+ does"):
        assert agreeing(path) is None


def test_a_library_of_another_system_is_passed_over(own_cache, tmp_path):
    brought = tmp_path / "resample-other.so"
    brought.write_bytes(b"no library")
    assert agreeing(brought) is None
    assert Resampler(brought=brought).choose(1) is by_pillow


def test_the_wheels_library_comes_first(library, own_cache, compiler, tmp_path):
    brought = tmp_path / "brought.so"
    compile_c(own_command(), SOURCE, brought)
    assert isinstance(Resampler(brought=brought).choose(1), Library)
    assert not own_cache.exists()


def test_while_one_thread_compiles_the_others_go_on(own_cache, monkeypatch):
    resampler = Resampler(compile_after=100)

    def compiled(*given):
        assert resampler.choose(1) is by_pillow  # as another thread finds it
        raise ExportError("enough")

    monkeypatch.setattr(module, "compiled_library", compiled)
    resampler.choose(1)
    with pytest.warns(MobileOneWarning, match="enough"):
        resampler.choose(100)


def test_resample_is_what_pillow_does():
    pixels, box = noise(30, 40), (2.0, 3.5, 38.0, 29.0)
    expected = np.asarray(PIL.Image.fromarray(pixels).resize((8, 6), PIL.Image.Resampling.BICUBIC, box))
    assert np.array_equal(resample(pixels, (6, 8), interpolation="bicubic", box=box), expected)
