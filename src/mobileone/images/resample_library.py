"""How resample.c becomes a library: here at need, and in wheels. Imports nothing that their build lacks."""

from __future__ import annotations

from pathlib import Path

from mobileone.c_compiler import TARGETS, compile_c, find_compiler, this_system, zig_compiler

SOURCE = Path(__file__).with_name("resample.c")
FLAGS = ("-std=c11", "-O3", "-ffp-contract=off")  # each product rounded, as in Pillow
BROUGHT_SYSTEMS = ("x86_64-linux", "aarch64-linux")
"""Keys of `c_compiler.TARGETS` for which wheels bring the library: those where tests run it."""


def flags_for(system: str) -> tuple[str, ...]:
    """A compiler's, for a system as `this_system` names it."""
    return (*FLAGS, "-msse4.1") if system.startswith("x86_64-") else FLAGS


def own_command() -> list[str]:
    """What compiles the library for this machine.

    Raises:
        ConfigError, MissingExtraError: as `find_compiler`.
    """
    return [*find_compiler(), *flags_for(this_system()), "-shared", "-fPIC"]


def brought_path(system: str, *, folder: Path = SOURCE.parent) -> Path | None:
    """Where a wheel has the library for a system; None where no wheel has any.

    >>> brought_path("aarch64-linux").name, brought_path("riscv64-linux")
    ('resample-aarch64-linux.so', None)
    """
    return folder / f"resample-{system}{TARGETS[system].suffix}" if system in BROUGHT_SYSTEMS else None


def compile_brought(folder: Path) -> list[Path]:
    """Compile the library for all systems for which wheels bring it, by zig.

    Raises:
        ExportError: if one cannot be compiled.
        MissingExtraError: if zig is not installed.
    """
    made = []
    for system in BROUGHT_SYSTEMS:
        target, path = TARGETS[system], brought_path(system, folder=folder)
        assert path is not None
        command = [*zig_compiler(), "-target", target.triple, *flags_for(system), *target.flags, "-s"]
        compile_c(command, SOURCE, path)
        made.append(path)
    return made
