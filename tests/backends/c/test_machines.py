"""The same integers on other machines and under checks of memory and arithmetic; no spills in inner loops."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from mobileone.backends.c.generator import generate
from mobileone.backends.c.integers import run_integers
from mobileone.c_compiler import find_target, zig_compiler
from mobileone.errors import ArtifactError

RUNNER = os.path.join(os.path.dirname(__file__), "runner.c")
TILES = os.path.join(os.path.dirname(__file__), "tiles.h")
RELAXED_DOT = os.path.join(os.path.dirname(__file__), "relaxed_dot.h")
WASM_RUNNER = os.path.join(os.path.dirname(__file__), "runner.mjs")
OPTIONS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-DMOBILEONE_NET_THREADS", "-pthread"]


def need(*programs):
    """Their paths; the test skips where one is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")


@pytest.fixture
def run_elsewhere(little, noise, tmp_path):
    """`run_elsewhere(command, emulator)`: names of the kernels that ran; their outputs are compared."""

    def run(command, emulator=(), environment=None):
        source = generate(little)
        (tmp_path / "net.c").write_text(source.code, encoding="utf-8")
        (tmp_path / "net.h").write_text(source.header, encoding="utf-8")
        images = noise(little)
        images.tofile(tmp_path / "images")
        program = tmp_path / "runner"
        files = [RUNNER, str(tmp_path / "net.c"), f"-I{tmp_path}"]
        built = subprocess.run(
            [*command, *OPTIONS, *files, "-o", str(program)], capture_output=True, text=True
        )
        assert built.returncode == 0, built.stderr[:2000]
        done = subprocess.run(
            [*emulator, str(program), str(tmp_path / "images"), str(len(images))],
            capture_output=True,
            env=os.environ | (environment or {}),
        )
        messages = done.stderr.decode()
        assert done.returncode == 0, messages
        names = messages.split()
        outputs = np.frombuffer(done.stdout, np.float32).reshape(len(names), 3, len(images), -1)
        wanted = np.stack([run_integers(little, image).outputs for image in images])
        for name, ways in zip(names, outputs, strict=True):
            for given in ways:
                np.testing.assert_array_equal(given, wanted, err_msg=name)
        return names

    return run


@pytest.mark.slow
def test_arm_with_and_without_mixed_dot_products(run_elsewhere):
    need("aarch64-linux-gnu-gcc", "qemu-aarch64")
    command = ["aarch64-linux-gnu-gcc", "-static"]
    assert run_elsewhere(command, ["qemu-aarch64", "-cpu", "max"]) == ["i8mm", "dotprod", "plain"]
    assert run_elsewhere(command, ["qemu-aarch64", "-cpu", "neoverse-n1"]) == ["dotprod", "plain"]
    assert run_elsewhere(command, ["qemu-aarch64", "-cpu", "cortex-a53"]) == ["plain"]


@pytest.mark.slow
def test_arm_by_zig(run_elsewhere):
    need("qemu-aarch64")
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    command = [*zig_compiler(), "-target", "aarch64-linux-musl"]
    assert run_elsewhere(command, ["qemu-aarch64", "-cpu", "max"]) == ["i8mm", "dotprod", "plain"]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["-mno-sse", "-mno-sse2"]], ids=["sse", "x87"])
def test_32_bits(run_elsewhere, flags):
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    assert run_elsewhere([*zig_compiler(), "-target", "x86-linux-musl", *flags]) == ["plain"]


@pytest.mark.slow
@pytest.mark.parametrize("check", ["address,undefined", "thread"])
def test_sanitizers(run_elsewhere, compiler, check):
    """Overflows and races end the program; its own three threads and three that are lent run beside one."""
    command = [compiler, "-g", f"-fsanitize={check}", "-fno-sanitize-recover=all"]
    names = run_elsewhere(command, environment={"TSAN_OPTIONS": "halt_on_error=1"})
    assert names[-1] == "plain"


@pytest.mark.slow
def test_cplusplus_reads_the_header(little, tmp_path):
    need("g++")
    source = generate(little)
    (tmp_path / "net.h").write_text(source.header, encoding="utf-8")
    (tmp_path / "use.cpp").write_text('#include "net.h"\nsize_t f() { return mobileone_net_workspace(); }\n')
    subprocess.run(["g++", "-Wall", "-Wextra", "-Werror", "-c", "use.cpp"], cwd=tmp_path, check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "kernels"),
    [
        (None, "simd128"),
        ("UNSIGNED", "relaxed"),
        ("SIGNED", "relaxed_signed"),
        ("SATURATING", "relaxed_pairs"),
        ("STRANGE", "simd128"),
    ],
)
def test_wasm(little, noise, tmp_path, machine, kernels):
    """Relaxed dot products as each kind of machine computes them: used where they are exact, only there."""
    check_wasm(little, noise(little, 1), tmp_path, machine, kernels)


@pytest.mark.slow
@pytest.mark.parametrize("widths", [(80, 80, 112, 48), (48, 128, 80, 256)])
@pytest.mark.parametrize(("machine", "kernels"), [(None, "simd128"), ("SATURATING", "relaxed_pairs")])
def test_wasm_in_many_chunks(make_network, noise, tmp_path, widths, machine, kernels):
    """Weights that are widened once for many chunks of rows, in layers of one kind of block and of two."""
    network = make_network(widths, size=144, depths=(2, 2, 1, 1), stem_width=80)
    check_wasm(network, noise(network, 1), tmp_path, machine, kernels)


def check_wasm(network, image, tmp_path, machine, kernels):
    need("node")
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    source, target = generate(network), find_target("wasm32")
    (tmp_path / "net.c").write_text(source.code, encoding="utf-8")
    (tmp_path / "net.h").write_text(source.header, encoding="utf-8")
    relaxed = ["-D__wasm_relaxed_simd__", f"-DMACHINE={machine}", "-include", RELAXED_DOT] if machine else []
    command = [*zig_compiler(), "-target", target.triple, "-O2", *target.flags, *relaxed]
    subprocess.run([*command, "net.c", "-o", "net.wasm"], cwd=tmp_path, check=True)
    image.tofile(tmp_path / "image")
    done = subprocess.run(
        ["node", WASM_RUNNER, tmp_path / "net.wasm", tmp_path / "image"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kernels"] == kernels
    outputs = run_integers(network, image[0]).outputs
    np.testing.assert_array_equal(np.array(found["outputs"], np.float32), outputs)


TILES_IN_C = {
    r'__asm__ volatile\("tileloadd .*?"memory"\)': "tile_read(tile, from, apart)",
    r'__asm__ volatile\("tilestored .*?"memory"\)': "tile_write(tile, to, 64)",
    r'__asm__ volatile\("tdpbusd .*? : :\)': "tile_products(sums, pixels, weights)",
    r'__asm__ volatile\("ldtilecfg .*?;': "tile_shapes(&tiles);",
    r'__asm__ volatile\("tilerelease"\);': "",
    r"if \(!avx512vnni_is_supported\(\) \|\| !has_x86\(7, 0, 3, .*?return result == 0;": (
        "return avx512vnni_is_supported();"
    ),
}
"""What tiles.h does in place of the instructions of AMX, and of asking for them."""


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "widths", [(48, 16, 33, 80), (100, 128, 65, 256)], ids=["even", "some not divided evenly"]
)
def test_tiles_where_the_processor_has_none(make_network, noise, compile_source, widths, threads):
    """Their instructions in C, everything around them as it is."""
    network = make_network(widths, depths=(1, 2, 2, 1), se_blocks=(0, 0, 1, 0), size=67, num_classes=37)
    source = generate(network)
    code = source.code
    for instruction, instead in TILES_IN_C.items():
        code, count = re.subn(instruction, instead, code, flags=re.DOTALL)
        assert count == 1, instruction
    library = compile_source(replace(source, code=code), "-include", TILES, threads=threads)
    try:
        library.use_kernels("amx")
    except ArtifactError as error:
        missing = ("does not have the instructions", "no kernels of that name")
        if not any(each in str(error) for each in missing):
            raise
        pytest.skip("needs AVX-512 VNNI, and a compiler that knows AMX")
    images = noise(network)
    wanted = np.stack([run_integers(network, image).outputs for image in images])
    np.testing.assert_array_equal(library.logits(images), wanted)


def innermost_loops(assembly):
    """Bodies of loops without a loop inside, of GNU assembly."""
    lines = [line.split("#")[0].split("//")[0].strip() for line in assembly.splitlines()]
    places = {line[:-1]: number for number, line in enumerate(lines) if re.fullmatch(r"[.\w]+:", line)}
    loops = []
    for number, line in enumerate(lines):
        match = re.match(r"(?:j\w+|b\.?\w+|cbnz|cbz)\s+(?:\w+, )?([.\w]+)$", line)
        start = places.get(match[1]) if match else None
        if start is not None and start < number:
            loops.append((start, number))
    inner = [
        (start, end)
        for start, end in loops
        if not any(start <= other and last <= end and (start, end) != (other, last) for other, last in loops)
    ]
    return [lines[start:end] for start, end in inner]


def stack_references(assembly, instruction, *, pattern=r"[er]sp\)|\[sp[,\]]"):
    """How often innermost loops with that instruction touch the stack, and how many there are."""
    loops = [body for body in innermost_loops(assembly) if any(instruction in line for line in body)]
    return sum(bool(re.search(pattern, line)) for body in loops for line in body), len(loops)


def stack_writes(assembly, instruction):
    """The same of vectors that are stored there; widened weights of avx2 lie on the stack, and are read."""
    return stack_references(
        assembly, instruction, pattern=r"mm\d+, *[-\w]*\(%[er]sp\)|st[rp]\s+[qd]\d+.*\[sp[,\]]"
    )


def kernel_assembly(text, name, job):
    """The parts of an assembly listing that belong to one set's kernels for a job."""
    parts = re.split(r"^(\w+):", text, flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [body for label, body in pairs if f"{label}_".startswith(f"{name}_{job}_")]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["gcc", "clang", "zig", "aarch64-linux-gnu-gcc", "zig-aarch64"])
def test_sums_stay_in_registers(make_network, tmp_path, command):
    if command.startswith("zig"):
        pytest.importorskip("ziglang", reason="needs mobileone[c]")
        target = "aarch64-linux-musl" if "aarch64" in command else "x86_64-linux-musl"
        compiler = [*zig_compiler(), "-target", target]
    else:
        need(command)
        compiler = [command]
    source = generate(make_network((48, 128, 256, 256), size=224, depths=(2, 2, 2, 1)))
    (tmp_path / "net.c").write_text(source.code, encoding="utf-8")
    (tmp_path / "net.h").write_text(source.header, encoding="utf-8")
    subprocess.run([*compiler, "-std=c11", "-O2", "-S", "net.c", "-o", "net.s"], cwd=tmp_path, check=True)
    text = (tmp_path / "net.s").read_text(encoding="utf-8", errors="replace")
    sets = {"amx": "tdpbusd", "avx512vnni": "vpdpbusd", "avxvnni": "vpdpbusd", "avx2": "vpmaddwd"}
    if "aarch64" in command:
        sets = {"i8mm": "dot", "dotprod": "dot"}
    for name, instruction in sets.items():
        for job, count in (("pointwise", stack_references), ("depthwise", stack_writes)):
            kernels = kernel_assembly(text, name, job)
            assert kernels or (name, job) == ("amx", "depthwise")  # which avx512vnni does
            counts = [count(body, instruction) for body in kernels]
            assert sum(loops for _, loops in counts) >= len(kernels) / 2, (name, job)
            assert sum(references for references, _ in counts) == 0, (name, job, counts)


def test_the_count_sees_a_spill():
    loop = ".L3:\n\tvpdpbusd %zmm1, %zmm2, %zmm3\n\tvmovdqa64 %zmm3, 64(%rsp)\n\tcmpq %rax, %rcx\n\tjne .L3\n"
    assert stack_references(loop, "vpdpbusd") == (1, 1)
    assert stack_references(loop.replace("64(%rsp)", "64(%rdi)"), "vpdpbusd") == (0, 1)
    arm = ".L3:\n\tsdot v0.4s, v1.16b, v2.4b[0]\n\tstr q0, [sp, 32]\n\tb.ne .L3\n"
    assert stack_references(arm, "sdot") == (1, 1)
    assert stack_writes(loop, "vpdpbusd") == stack_writes(arm, "sdot") == (1, 1)
    read = loop.replace("vmovdqa64 %zmm3, 64(%rsp)", "vpmaddwd 64(%rsp), %zmm3, %zmm2")
    assert (stack_references(read, "vpdpbusd"), stack_writes(read, "vpdpbusd")) == ((1, 1), (0, 1))
