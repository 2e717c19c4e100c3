"""The modules of a page: a network with its weights, and the one that resizes pictures. Compiled by zig."""

from __future__ import annotations

import shutil
import tempfile
from importlib import resources
from pathlib import Path

from mobileone.backends.c.session import prefix_of
from mobileone.c_compiler import compile_c, zig_compiler

MEMORY_BYTES = 1 << 28  # that a network may grow to, and static/engine.js asks for
STACK_BYTES = 1 << 16
GIVEN = "given"  # folder of the C source that was given, within the one that is compiled in
FEATURES = "generic+simd128+bulk_memory+sign_ext+nontrapping_fptoint+mutable_globals"
_FLAGS = (
    "-target",
    "wasm32-freestanding",
    "-std=c11",
    "-O3",
    "-ffp-contract=off",  # relaxed SIMD has multiply-adds of one rounding or two
    "-nostdlib",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
)


def compile_network(source: Path, output: Path, *, relaxed: bool = False) -> None:
    """A network as C to a module that imports its memory, which may be shared by threads.

    Args:
        source: what the C backend wrote; its header beside it.
        output: the module.
        relaxed: with the kernels of relaxed SIMD too. A browser that does not know it refuses such a module.

    Raises:
        ExportError: if the compiler refuses.
        MissingExtraError: if it is not installed.
    """
    _compile(
        "network.c",
        output,
        (
            f"-mcpu={FEATURES}+atomics{'+relaxed_simd' if relaxed else ''}",
            "-pthread",
            f'-DNETWORK_FILE="{GIVEN}/{source.name}"',
            f"-DNETWORK_PREFIX={prefix_of(source.with_suffix('.h'))}",
            f"-D{prefix_of(source.with_suffix('.h')).upper()}_API=static",
            f"-D{prefix_of(source.with_suffix('.h')).upper()}_THREADS",
            "-Wl,--shared-memory",
            "-Wl,--import-memory",
            f"-Wl,--max-memory={MEMORY_BYTES}",
            f"-Wl,-z,stack-size={STACK_BYTES}",
            "-Wl,--export=__stack_pointer",
        ),
        beside=(source, source.with_suffix(".h")),
    )


def compile_pixels(output: Path) -> None:
    """The module that resizes, with a memory of its own.

    Raises:
        ExportError: if the compiler refuses.
        MissingExtraError: if it is not installed.
    """
    _compile("pixels.c", output, (f"-mcpu={FEATURES}", "-Wl,--export=__heap_base"))


def _compile(name: str, output: Path, flags: tuple[str, ...], *, beside: tuple[Path, ...] = ()) -> None:
    """One of the folder's files, copied next to what it includes, so that paths with any characters do.

    What is beside it has a folder of its own, since it may have any name.
    """
    own = resources.files("mobileone.web") / "source"
    with tempfile.TemporaryDirectory() as folder:
        for each in ("stdlib.h", "string.h", name):
            (Path(folder) / each).write_text((own / each).read_text(encoding="utf-8"), encoding="utf-8")
        (Path(folder) / GIVEN).mkdir()
        for path in beside:
            shutil.copyfile(path, Path(folder) / GIVEN / path.name)
        compile_c([*zig_compiler(), *_FLAGS, *flags, f"-I{folder}"], Path(folder) / name, output)
