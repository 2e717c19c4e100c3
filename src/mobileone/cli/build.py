"""`mobileone build`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mobileone.cli.output import megabytes, print_json
from mobileone.cli.target_file import refuse_existing

TargetName = Literal[
    "x86_64-linux", "aarch64-linux", "aarch64-android", "aarch64-macos", "x86_64-windows", "wasm32"
]


@dataclass(frozen=True, kw_only=True)
class Build:
    """Compile a network that quantize wrote as C source into a library, for this system or another.

    Example: mobileone build net.c --target aarch64-android -o libnet.so
    """

    source: Annotated[Positional[Path], arg(metavar="NET.c")]
    """What `quantize --format c` wrote; its header and manifest beside it."""
    output: Annotated[Path, arg(aliases=("-o",))]
    """Library with the system's suffix (.so, .dylib, .dll, .wasm); .o for an object file, .c for source."""
    target: TargetName | None = None
    """System to compile for, with the compiler that the extra `c` brings. Default: this one, with its own."""
    prefix: str | None = None
    """Of all functions, a C identifier. Default: the source's."""
    threads: bool = False
    """Let the functions start threads of their own; without, several threads are the caller's."""
    force: bool = False
    """Overwrite what is there."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        from mobileone.backends.c.library import build

        refuse_existing(self.output, force=self.force)
        done = build(
            self.source,
            self.output,
            target=self.target,
            prefix=self.prefix,
            threads=self.threads,
            force=self.force,
        )
        size = done.path.stat().st_size
        if self.json:
            command = " ".join(done.command)
            print_json(
                {"path": str(done.path), "header": str(done.header), "bytes": size, "prefix": done.prefix}
                | {"target": self.target, "command": command}
            )
            return 0
        print(f"wrote {done.path} ({megabytes(size)}) and {done.header.name}; call {done.prefix}_run")
        return 0
