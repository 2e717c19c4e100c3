"""Write int8 .c files: the network as C source, with a header beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mobileone.backends.c.generator import generate
from mobileone.backends.c.symbols import CSymbols
from mobileone.backends.quantized_network import QuantizedNetwork
from mobileone.c_compiler import find_compiler


def check() -> None:
    """A compiler proves the file."""
    find_compiler()


def write_int8(
    quantized: QuantizedNetwork, path: Path, *, batch: int, symbols: CSymbols | None = None
) -> Sequence[Path]:
    """Two files: code with weights, and header. It takes one image at a time, so batches of any size."""
    del batch
    header = path.with_suffix(".h")
    source = generate(quantized, symbols=symbols or CSymbols(), header_name=header.name)
    path.write_text(source.code, encoding="utf-8")
    header.write_text(source.header, encoding="utf-8")
    return [path, header]


def versions() -> Mapping[str, str]:
    """This package alone writes it."""
    return {}
