"""Make a library, an object file or renamed source of a .c artifact, for any system. No torch."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mobileone.atomic import atomic_path, refuse_existing
from mobileone.backends.c.session import prefix_of
from mobileone.backends.c.symbols import CSymbols, rename
from mobileone.backends.manifest import read_manifest
from mobileone.c_compiler import (
    FLAGS,
    compile_c,
    find_compiler,
    find_target,
    library_suffix,
    zig_compiler,
)
from mobileone.errors import ConfigError

OBJECT, SOURCE = ".o", ".c"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltLibrary:
    """What was made.

    Attributes:
        path: the library, object file or source.
        header: what declares its functions.
        command: the compiler and its flags; empty for source.
        prefix: of its functions.
    """

    path: Path
    header: Path
    command: tuple[str, ...]
    prefix: str


def build(
    artifact: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    target: str | None = None,
    prefix: str | None = None,
    threads: bool = False,
    force: bool = False,
) -> BuiltLibrary:
    """Compile a .c artifact; the header goes beside the result.

    Args:
        artifact: a .c file that `quantize` wrote, its header and manifest beside it.
        output: a shared library with the system's suffix; or `.o`, an object file; or `.c`, the source again,
            with another prefix.
        target: a key of `c_compiler.TARGETS`, compiled for by zig; None is this machine, by its own compiler.
        prefix: of the functions; None is the artifact's.
        threads: whether the functions can start threads of their own.
        force: replace what is there.

    Raises:
        ArtifactError: if the artifact is damaged.
        ConfigError: on another kind of artifact, an unknown target, a wrong suffix, a prefix that is no C
            identifier, or an existing file without `force`.
        ExportError: if the compiler refuses; nothing is written then.
        MissingExtraError: if there is no compiler.
    """
    source, path = Path(artifact), Path(output)
    if source.suffix != SOURCE:
        raise ConfigError(f"build takes a network as C source, *.c, got {source.name}")
    found = None if target is None else find_target(target)
    suffix = library_suffix() if found is None else found.suffix
    if path.suffix not in (suffix, OBJECT, SOURCE):
        raise ConfigError(f"the output is called *{suffix}, *{OBJECT} or *{SOURCE} here, got {path.name}")
    if prefix is not None:
        CSymbols(prefix=prefix)  # which complains
    header, own_header = path.with_suffix(".h"), source.with_suffix(".h")
    read_manifest(source)
    before = prefix_of(own_header)
    name = prefix or before
    if path.resolve() == source.resolve():
        raise ConfigError(f"{path} is the artifact itself; give another name")
    beside_artifact = header.resolve() == own_header.resolve()
    if beside_artifact and name != before:
        raise ConfigError(f"{header} is the artifact's own, which has prefix {before}; give another name")
    refuse_existing(path, *([] if beside_artifact else [header]), force=force)
    texts = [renamed(file.read_text(encoding="utf-8"), before, name) for file in (source, own_header)]
    texts[0] = texts[0].replace(f'"{own_header.name}"', f'"{header.name}"')
    command: tuple[str, ...] = ()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == SOURCE:
        _write(path, texts[0])
    else:
        compiler = find_compiler() if found is None else [*zig_compiler(), "-target", found.triple]
        threading = [f"-D{name.upper()}_THREADS", "-pthread"] if threads else []
        if path.suffix != OBJECT:  # what an object file's functions reach is its source's to say
            threading.append(CSymbols(prefix=name).public_flag)
        elif f"#define {name.upper()}_API static" in texts[1]:
            raise ConfigError(
                f"the functions of {source.name} are static, so an object file of it has none; include "
                "it, or quantize with another visibility"
            )
        shared = ("-shared", "-fPIC") if found is None else found.flags
        parts = _Parts((*compiler, *FLAGS, *threading), shared, "" if found is None else found.needs)
        parts.compile(texts, header.name, path)
        command = parts.command
    _write(header, texts[1])
    return BuiltLibrary(path=path, header=header, command=command, prefix=name)


def renamed(text: str, before: str, after: str) -> str:
    """C source with another prefix on its names.

    >>> renamed("int net_run(void); #define NET_OK planet_run", "net", "cat")
    'int cat_run(void); #define CAT_OK planet_run'
    """
    return rename(text, {before.upper(): after.upper(), before: after})


@dataclass(frozen=True, slots=True)
class _Parts:
    """A compiler's command, the flags that make a library of what it compiles, and what that needs."""

    command: tuple[str, ...]
    shared: tuple[str, ...]
    needs: str

    def compile(self, texts: list[str], header: str, path: Path) -> None:
        """Compile code and header, which are in no folder yet."""
        with tempfile.TemporaryDirectory() as folder:
            code = Path(folder) / path.with_suffix(SOURCE).name
            code.write_text(texts[0], encoding="utf-8")
            (Path(folder) / header).write_text(texts[1], encoding="utf-8")
            to_object = (*self.command, "-c", "-fPIC")
            if path.suffix == OBJECT:
                compile_c(to_object, code, path)
            elif not self.needs:
                compile_c((*self.command, *self.shared), code, path)
            else:
                compiled = code.with_suffix(OBJECT)
                compile_c(to_object, code, compiled)
                self._link(compiled, path)

    def _link(self, compiled: Path, path: Path) -> None:
        """Link with an empty library of the system's name: the linker notes that it is needed."""
        empty, stub = compiled.with_name("empty.c"), compiled.with_name(self.needs)
        empty.write_text("", encoding="utf-8")
        link = (*self.command, *self.shared)
        compile_c((*link, f"-Wl,-soname,{self.needs}"), empty, stub)
        compile_c((*link, "-Wl,--no-as-needed", str(stub), "-Wl,--allow-shlib-undefined"), compiled, path)


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as made:
        made.write_text(text, encoding="utf-8")
