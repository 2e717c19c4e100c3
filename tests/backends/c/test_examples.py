"""The examples compile and answer as Python does."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mobileone.backends.c.integers import run_integers

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def need(program):
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")


@pytest.fixture
def net(int8_file, compiler):
    return int8_file("c")


@pytest.fixture
def photo(other_pictures, tmp_path):
    """A picture of the network's size, blown up, in a frame that is cut off: it comes out as it was."""
    pixels = other_pictures[0].permute(1, 2, 0).numpy()
    side = len(pixels)
    large = np.kron(pixels, np.ones((7, 7, 1), np.uint8))
    frame = (8 * side - 7 * side) // 2
    framed = np.full((8 * side, 8 * side, 3), 77, np.uint8)
    framed[frame : frame + 7 * side, frame : frame + 7 * side] = large
    path = tmp_path / "photo.ppm"
    path.write_bytes(f"P6\n{8 * side} {8 * side}\n255\n".encode() + framed.tobytes())
    return path


@pytest.fixture
def wanted(quantized, other_pictures):
    """What the examples print."""
    outputs = run_integers(quantized, other_pictures[0].permute(1, 2, 0).numpy()).outputs
    return f"{outputs.argmax()}  {outputs.max():.3f}"


def run(*command):
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_c(net, photo, wanted, compiler, tmp_path):
    program = tmp_path / "classify"
    run(compiler, "-O2", "-Wall", "-Wextra", "-Werror", EXAMPLES / "classify.c", net, "-o", program)
    assert run(program, photo) == wanted
    photo.write_bytes(photo.read_bytes()[:-1])
    for arguments in ([], [tmp_path / "none.ppm"], [photo]):
        done = subprocess.run([program, *arguments], capture_output=True, text=True)
        assert done.returncode in (1, 2)
        assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_rust(net, other_pictures, wanted, compiler, tmp_path):
    need("rustc")
    run(compiler, "-O2", "-c", net, "-o", tmp_path / "net.o")
    program = tmp_path / "classify"
    run("rustc", "-O", EXAMPLES / "classify.rs", "-C", f"link-arg={tmp_path / 'net.o'}", "-o", program)
    other_pictures[0].permute(1, 2, 0).contiguous().numpy().tofile(tmp_path / "pixels")
    assert run(program, tmp_path / "pixels") == wanted


@pytest.mark.slow
def test_cmake(net, photo, wanted, tmp_path):
    need("cmake")
    run("cmake", "-S", EXAMPLES, "-B", tmp_path / "build", f"-DNET={net}")
    run("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build" / "classify", photo) == wanted
