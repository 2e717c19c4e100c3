"""What writes an artifact: one protocol for float networks, one for int8, and how a backend's are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mobileone.backends.export_options import ExportOptions
from mobileone.backends.manifest import TensorSpec
from mobileone.backends.quantized_network import QuantizedNetwork
from mobileone.backends.table import find_backend, load_part, writing
from mobileone.errors import ConfigError

if TYPE_CHECKING:
    from mobileone.backends.c.symbols import CSymbols
    from mobileone.model.features import Network


class Writer(Protocol):
    """A module `backends/<name>/writer.py`: it writes float networks."""

    def check(self, options: ExportOptions) -> None:
        """Refuse what the format cannot hold, before any work.

        Raises:
            ConfigError: if the format does not have such an option.
            MissingExtraError: if a library is not installed.
        """

    def tensor(self, model: Network, options: ExportOptions) -> TensorSpec:
        """The input that the artifact will have."""

    def write(self, model: Network, path: Path, options: ExportOptions) -> Sequence[Path]:
        """Write the artifact to `path`; all its files, the main one first. Any exception is a failure."""

    def versions(self) -> Mapping[str, str]:
        """The libraries that write it."""


class Int8Writer(Protocol):
    """A module `backends/<name>/writer_int8.py`: it writes calibrated networks.

    Their files take camera bytes, uint8 (N, H, W, C), and give logits, float32 (N, classes).
    """

    def check(self) -> None:
        """Refuse before any work.

        Raises:
            MissingExtraError: if a library is not installed.
        """

    def write_int8(
        self, quantized: QuantizedNetwork, path: Path, *, batch: int, **symbols: CSymbols
    ) -> Sequence[Path]:
        """Write the artifact, for `batch` images at a time; all its files, the main one first.

        Any exception is a failure. A backend of source code (`Backend.is_source`) takes `symbols` too, the
        names of its functions; others are never given any.
        """

    def versions(self) -> Mapping[str, str]:
        """The libraries that write it."""


def find_writer(name: str) -> Writer:
    """The writer of float networks for a backend.

    Raises:
        ConfigError: if there is no such backend, or it holds int8 networks only.
    """
    backend = find_backend(name)
    if "fp32" not in backend.writes:
        raise ConfigError(
            f"{name} holds int8 networks only, so there is nothing to export in float; quantize the network, "
            f"or export it as one of {', '.join(writing('fp32'))}"
        )
    module: Writer = load_part(backend, "writer")
    return module


def find_int8_writer(name: str) -> Int8Writer:
    """The writer of int8 networks for a backend.

    Raises:
        ConfigError: if there is no such backend, or it has no int8.
    """
    if name not in writing("int8"):
        raise ConfigError(f"int8 is written as {', '.join(writing('int8'))}, got {name!r}")
    module: Int8Writer = load_part(find_backend(name), "writer_int8")
    return module


def check_installed(name: str) -> None:
    """Whether a backend can be written for here.

    Raises:
        ConfigError: if there is no such backend.
        MissingExtraError: if a library that it needs is not installed.
    """
    if "fp32" in find_backend(name).writes:
        find_writer(name).check(ExportOptions())
    else:
        find_int8_writer(name).check()
