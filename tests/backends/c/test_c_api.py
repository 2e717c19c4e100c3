"""What net.h promises to a careless caller, and to a program that it is part of."""

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest

from mobileone.backends.c.generator import generate

ERRORS = re.compile(r"\bMOBILEONE_NET_([A-Z_]+)(?: = 0)?,?$", re.MULTILINE)


@pytest.fixture(scope="module")
def header(little):
    return generate(little).header


@pytest.fixture(scope="module")
def codes(header):
    """Error numbers by name, as the header's enum counts them."""
    names = ERRORS.findall(header[header.index("enum mobileone_net_error") : header.index("};")])
    return {name: number for number, name in enumerate(names)}


class Caller:
    """Buffers of a call that is right; any argument can be replaced by a wrong one."""

    def __init__(self, network):
        self.network = network
        self.pixels = np.zeros(network.shape, np.uint8)
        self.logits = np.full(network.num_outputs, 7, np.float32)
        self.bytes = network._function("workspace_for")(2)
        self.block = np.full(self.bytes + 128, 9, np.uint8)
        self.workspace = self.block.ctypes.data + -self.block.ctypes.data % 64

    def run(self, **changes):
        given = {"pixels": self.pixels.ctypes.data, "logits": self.logits.ctypes.data} | changes
        workspace = given.get("workspace", self.workspace)
        return self.network._function("run")(given["pixels"], given["logits"], workspace)

    def run_parallel(self, *, num_bytes=None, threads=2, team=None, workspace=None):
        return self.network._function("run_parallel")(
            self.pixels.ctypes.data,
            self.logits.ctypes.data,
            workspace or self.workspace,
            self.bytes if num_bytes is None else num_bytes,
            threads,
            None,
            team,
        )

    @property
    def is_untouched(self):
        return bool((self.logits == 7).all() and (self.block == 9).all())


@pytest.fixture
def caller(little_library):
    return Caller(little_library)


def test_a_call_that_is_right(caller):
    assert caller.run() == 0
    assert not caller.is_untouched


@pytest.mark.parametrize("name", ["pixels", "logits", "workspace"])
def test_null_pointers(caller, codes, name):
    assert caller.run(**{name: None}) == codes["NULL"]
    assert caller.is_untouched


def test_a_workspace_in_the_wrong_place_or_too_small(caller, codes):
    assert caller.run(workspace=caller.workspace + 4) == codes["MISALIGNED"]
    assert caller.run_parallel(workspace=caller.workspace + 32) == codes["MISALIGNED"]
    assert caller.run_parallel(num_bytes=caller.bytes - 1) == codes["TOO_SMALL"]
    assert caller.run_parallel(num_bytes=0) == codes["TOO_SMALL"]
    assert caller.is_untouched


@pytest.mark.parametrize("threads", [0, -1, 65, 2**31 - 1])
def test_numbers_of_threads(caller, codes, threads):
    assert caller.run_parallel(threads=threads) == codes["BAD_THREADS"]
    assert caller.network._function("workspace_for")(threads) == 0
    assert caller.is_untouched


def test_a_team_of_another_size(caller, codes):
    team = caller.network._function("threads_start")(3)
    try:
        assert caller.run_parallel(team=team) == codes["BAD_THREADS"]
    finally:
        caller.network._function("threads_stop")(team)
    assert (caller.logits == 7).all()


def test_maps_are_held_to_the_same_rules(caller, codes):
    features, class_map = (caller.network._function(name) for name in ("features", "class_map"))
    assert caller.run() == 0
    out = np.full(int(np.prod(caller.network.map_shape)), 7, np.float32)
    to = out.ctypes.data
    assert features(None, to) == features(caller.workspace, None) == codes["NULL"]
    assert class_map(None, 0, to) == class_map(caller.workspace, 0, None) == codes["NULL"]
    assert features(caller.workspace + 1, to) == codes["MISALIGNED"]
    for index in (-1, caller.network.num_outputs, 2**31 - 1, -(2**31)):
        assert class_map(caller.workspace, index, to) == codes["NO_CLASS"]
    assert (out == 7).all()


def test_names_of_kernels(caller, codes):
    use = caller.network._function("use_kernels")
    assert use(None) == codes["NULL"]
    assert use(b"") == use(b"sse9") == codes["NO_KERNELS"]
    kernels = caller.network._function("kernels")
    assert kernels(-1) is None
    assert kernels(len(caller.network.kernels())) is None


def test_every_error_has_a_text_of_its_own(caller, codes):
    text = caller.network._function("error_text")
    texts = [text(number) for number in codes.values()]
    assert texts[0] == b"no error"
    assert len(set(texts)) == len(texts) == 12
    assert b"unknown error" not in texts
    assert text(len(codes)) == text(-1) == b"unknown error"


def test_the_header_says_what_goes_in_and_comes_out(header, little, caller):
    for name, value in (("HEIGHT", 67), ("WIDTH", 67), ("CHANNELS", 3), ("NUM_OUTPUTS", 37)):
        assert f"#define MOBILEONE_NET_{name} {value}\n" in header
    height, width, channels = caller.network.map_shape
    assert f"MAP_HEIGHT {height}\n" in header
    assert f"MAP_WIDTH {width}\n" in header
    assert f"NUM_FEATURES {channels}\n" in header
    source = generate(little)
    assert f"{source.weight_bytes} bytes of constants" in header
    assert f"({source.workspace_bytes}, and {source.thread_bytes} for every further thread)" in header
    assert caller.network._function("workspace")() == source.workspace_bytes


def test_nothing_global_is_written_but_the_choice_and_nothing_runs_before_main(little, compiler, tmp_path):
    for program in ("nm", "readelf"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    source = generate(little)
    (tmp_path / "net.c").write_text(source.code, encoding="utf-8")
    (tmp_path / "net.h").write_text(source.header, encoding="utf-8")
    # Else tables of pointers are in a section that the loader writes.
    fixed = ["-fno-pic", "-fno-pie"]
    command = [compiler, "-std=c11", "-O1", *fixed, "-DMOBILEONE_NET_THREADS", "-pthread", "-c", "net.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    ask = {"capture_output": True, "text": True, "check": True, "cwd": tmp_path}
    symbols = [line.split() for line in subprocess.run(["nm", "net.o"], **ask).stdout.splitlines()]
    assert {name for *_, kind, name in symbols if kind in "bBdDC"} == {"chosen"}
    sections = subprocess.run(["readelf", "-S", "-W", "net.o"], **ask).stdout
    assert not re.search(r"\.(init_array|ctors|preinit_array)", sections)


def test_without_threads_compiled_in_several_need_the_callers(little, compiler, tmp_path, codes):
    source = generate(little)
    (tmp_path / "net.c").write_text(source.code, encoding="utf-8")
    (tmp_path / "net.h").write_text(source.header, encoding="utf-8")
    command = [compiler, "-std=c11", "-O1", "-shared", "-fPIC", "net.c", "-o", "net.so"]
    subprocess.run(command, cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "net.so"))
    library.mobileone_net_workspace_for.restype = ctypes.c_size_t
    size = library.mobileone_net_workspace_for(2)
    block, pixels = np.zeros(size + 64, np.uint8), np.zeros((67, 67, 3), np.uint8)
    logits, calls = np.zeros((2, 37), np.float32), []

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def one_after_the_other(pool, num_tasks, task, context):
        calls.append(num_tasks)
        run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)(task)
        for index in reversed(range(num_tasks)):
            run(context, index)

    place = lambda array: ctypes.c_void_p(array.ctypes.data)  # noqa: E731
    workspace = ctypes.c_void_p(block.ctypes.data + -block.ctypes.data % 64)
    run, size = library.mobileone_net_run_parallel, ctypes.c_size_t(size)
    assert run(place(pixels), place(logits[0]), workspace, size, 2, None, None) == codes["NO_THREADS"]
    assert run(place(pixels), place(logits[0]), workspace, size, 2, one_after_the_other, None) == 0
    assert run(place(pixels), place(logits[1]), workspace, size, 1, None, None) == 0
    np.testing.assert_array_equal(*logits)
    assert calls == [2]
