"""The machine's C compiler, and zig's, which compiles for other systems. Imports no torch."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mobileone.cache import cache_dir
from mobileone.errors import ConfigError, ExportError, MissingExtraError

TIMEOUT_S = 1200  # zig's first compilation for a system builds that system's C library
FLAGS = ("-std=c11", "-O2")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileTarget:
    """A system that a network is compiled for.

    Attributes:
        name: what users call it.
        triple: what zig calls it.
        suffix: of its shared libraries.
        flags: that it needs.
        needs: a library that is there on that system and not with zig: functions are found in it when loaded.
    """

    name: str
    triple: str
    suffix: str
    flags: tuple[str, ...] = ("-shared", "-fPIC")
    needs: str = ""


TARGETS: dict[str, CompileTarget] = {
    each.name: each
    for each in (
        CompileTarget(name="x86_64-linux", triple="x86_64-linux-gnu.2.17", suffix=".so"),
        CompileTarget(name="aarch64-linux", triple="aarch64-linux-gnu.2.17", suffix=".so"),
        # Android's C library is not zig's to give. What is called of it has the form that it has in Linux.
        CompileTarget(
            name="aarch64-android",
            triple="aarch64-linux-musl",
            suffix=".so",
            flags=("-shared", "-fPIC", "-nostdlib", "-Wl,-z,max-page-size=16384"),
            needs="libc.so",
        ),
        CompileTarget(name="aarch64-macos", triple="aarch64-macos.11.0", suffix=".dylib"),
        CompileTarget(name="x86_64-windows", triple="x86_64-windows-gnu", suffix=".dll", flags=("-shared",)),
        CompileTarget(
            name="wasm32",
            triple="wasm32-wasi",
            suffix=".wasm",
            flags=("-mexec-model=reactor", "-Wl,--export-dynamic", "-fvisibility=default", "-msimd128"),
        ),
    )
}


def find_target(name: str) -> CompileTarget:
    """The target of that name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in TARGETS:
        raise ConfigError(f"target must be one of {', '.join(TARGETS)}, got {name!r}")
    return TARGETS[name]


def machine_compiler() -> list[str] | None:
    """The command of this machine's own C compiler: CC's, else cc, gcc or clang; None if there is none.

    Raises:
        ConfigError: if CC names none that is there, or is no command.
    """
    import shutil

    text = os.environ.get("CC", "")
    try:
        given = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"CC is no command, {error}: {text!r}; name a C compiler or unset CC") from error
    if given and shutil.which(given[0]) is None:
        raise ConfigError(
            f"CC names the C compiler {given[0]!r}, which is not there; name another or unset CC"
        )
    return given or next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def find_compiler() -> list[str]:
    """The same command, or that of zig's where only that is installed.

    Raises:
        ConfigError: as `machine_compiler`.
        MissingExtraError: if there is none.
    """
    if (own := machine_compiler()) is not None:
        return own
    if find_spec("ziglang") is not None:
        return zig_compiler()
    raise MissingExtraError(
        "no C compiler found; install gcc or clang, name one in CC, or pip install 'mobileone[c]'"
    )


def zig_compiler() -> list[str]:
    """The command of zig's C compiler.

    Raises:
        MissingExtraError: if it is not installed.
    """
    if find_spec("ziglang") is None:
        raise MissingExtraError("compiling for other systems needs ziglang; pip install 'mobileone[c]'")
    return [sys.executable, "-m", "ziglang", "cc"]


def compile_c(command: Sequence[str], source: Path, output: Path) -> None:
    """Run a compiler on a C file, or on an object file; `output` is whole or not there.

    Args:
        command: the compiler and its flags, all but the source and the output.
        source: the C file.
        output: what to write; its folder is there.

    Raises:
        ExportError: if the compiler does not run, or refuses: its first error.
    """
    import subprocess  # these are not loaded by who finds a library
    import tempfile

    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        made = Path(folder) / output.name
        try:
            done = subprocess.run(
                [*command, str(source), "-o", str(made)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExportError(f"the C compiler {command[0]} did not run on {source}: {error}") from error
        if done.returncode or not made.exists():
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            first = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
            raise ExportError(f"the C compiler {command[0]} failed on {source}: {first}")
        made.replace(output)


def compiled_library(source: Path, command: Sequence[str], *, header: Path | None = None) -> Path:
    """The shared library of a C file, from the cache where it lies there.

    Args:
        source: the C file.
        command: the compiler and its flags, as of `compile_c`.
        header: that the source includes, beside the system's.

    Raises:
        ExportError: if it cannot be compiled.
    """
    library = library_path(source, command, header=header)
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        compile_c(command, source, library)
    return library


def library_path(source: Path, command: Sequence[str], *, header: Path | None = None) -> Path:
    """Where the cache has such a library: another place for other code, another compiler, another machine."""
    code = source.read_bytes() + (b"" if header is None else header.read_bytes())
    key = hashlib.sha256(code + repr((list(command), platform.system(), platform.machine())).encode())
    return cache_dir() / "c" / f"{source.stem}-{key.hexdigest()[:24]}{library_suffix()}"


def this_system() -> str:
    """This machine as `TARGETS` names systems, whether it is among them or not: processor and system."""
    machine, system = platform.machine().lower(), platform.system().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    return f"{machine}-{'macos' if system == 'darwin' else system}"


def library_suffix() -> str:
    """Of shared libraries on this system."""
    return {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
