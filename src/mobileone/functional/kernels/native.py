"""C kernels: compiled once by the machine's own compiler, kept in the cache folder, called by address.

It needs a C compiler with OpenMP (gcc or clang; the variable CC names another) and takes two seconds; there
is nothing to install with the package. Where that fails, `load` says so once and returns None.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobileone.c_compiler import compile_c, machine_compiler
from mobileone.cache import cache_dir
from mobileone.errors import ConfigError, MobileOneError

SOURCES = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-w")
REALS = {torch.float32: ("float", "int32_t"), torch.float64: ("double", "int64_t")}
reasons_told: list[str] = []


class BuildError(Exception):
    """The reason why there is no library, in one line."""


@functools.cache
def load(name: str, dtype: torch.dtype) -> ctypes.CDLL | None:
    """The library of `<name>.c` for that dtype (float32 or float64), compiled if it is not in the cache.

    Returns:
        The library, or None, with one RuntimeWarning a process, where it cannot be compiled or loaded.
    """
    try:
        return compiled(SOURCES / f"{name}.c", dtype)
    except BuildError as error:
        warn_without_kernels(str(error))
        return None


def call(
    library: str, function: str, dtype: torch.dtype, *args: Tensor | ctypes.Structure | float | None
) -> None:
    """Call a function of `<library>.c`.

    Args:
        library: its name; `load` has found it.
        function: name; it returns 0, or 1 where memory is short.
        dtype: float32 or float64.
        args: tensors by their address (the caller keeps them alive, laid out as the function expects), None
            as a null pointer, structures by theirs, integers as int64 and floats as double.

    Raises:
        MemoryError: where the function says so.
    """
    loaded = load(library, dtype)
    assert loaded is not None
    if getattr(loaded, function)(*map(_argument, args)):
        raise MemoryError(f"{function}: out of memory")


def _argument(value: Tensor | ctypes.Structure | float | None) -> Any:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, ctypes.Structure):
        return ctypes.byref(value)
    if value is None:
        return ctypes.c_void_p()
    return ctypes.c_int64(value) if isinstance(value, int) else ctypes.c_double(value)


def compiled(source: Path, dtype: torch.dtype = torch.float32) -> ctypes.CDLL:
    """The library of a C file, compiled if it is not in the cache.

    Raises:
        BuildError: if it cannot be compiled or loaded.
    """
    try:
        return ctypes.CDLL(str(_build(source, REALS[dtype])))
    except (MobileOneError, OSError) as error:
        raise BuildError(str(error).strip().partition("\n")[0]) from error


def warn_without_kernels(reason: str) -> None:
    """Say once a process that plain torch takes the kernels' place, and the first reason."""
    if reasons_told:
        return
    reasons_told.append(reason)
    warnings.warn(
        f"the compiled CPU kernels are not available ({reason}); training runs as plain torch, which is "
        "slower. Install a C compiler with OpenMP (gcc or clang), or name one in CC",
        RuntimeWarning,
        stacklevel=2,
    )


def _build(source: Path, real: tuple[str, str]) -> Path:
    command = machine_compiler()  # not zig's: it calls LLVM's OpenMP, and torch for Linux loads GNU's
    if command is None:
        raise BuildError("no C compiler found")
    code = b"".join(path.read_bytes() for path in (source, *sorted(SOURCES.glob("*.h"))))
    key = hashlib.sha256(code + repr((command, FLAGS, real, _processor())).encode()).hexdigest()[:16]
    try:
        folder = cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ConfigError):  # no home, or one that cannot be written
        folder = Path(tempfile.mkdtemp(prefix="mobileone-"))
    library = folder / f"{source.stem}-{real[0]}-{key}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work) / "kernels.o"
            defines = [f"-DREAL={real[0]}", f"-DMASK={real[1]}"]
            compile_c([*command, *FLAGS, *defines, "-c"], source, made)
            # Linked without OpenMP: the symbols are those of the copy torch has loaded. A second OpenMP in
            # the process would bring threads of its own, which fight with torch's.
            compile_c([*command, "-shared", *_undefined_allowed()], made, library)
    return library


def _undefined_allowed() -> list[str]:
    return ["-undefined", "dynamic_lookup"] if platform.system() == "Darwin" else []


def _processor() -> str:
    """Tells processors apart whose native code differs: a cache folder may be shared by many machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.system()} {platform.machine()} {platform.processor()} {features}"
