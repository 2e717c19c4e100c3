"""What a format's module in this package must offer: one protocol for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

from mobileone.exporting.deployable import Options
from mobileone.model.network import MobileOne
from mobileone.runtime.formats import FormatName
from mobileone.runtime.manifest import TensorSpec


class Exporter(Protocol):
    """A module that writes one format."""

    def check(self, options: Options) -> None:
        """Refuse what the format cannot hold, before any work.

        Raises:
            ConfigError: if the format does not have such an option.
            MissingExtraError: if a library is not installed.
        """

    def tensor(self, model: MobileOne, options: Options) -> TensorSpec:
        """The input that the artifact will have."""

    def write(self, model: MobileOne, path: Path, options: Options) -> Sequence[Path]:
        """Write the artifact to `path`; all its files, the main one first. Any exception is a failure."""

    def versions(self) -> Mapping[str, str]:
        """The libraries that write it."""


_MODULES: dict[FormatName, str] = {
    "onnx": "mobileone.exporting.onnx",
    "openvino": "mobileone.exporting.openvino",
    "litert": "mobileone.exporting.litert",
    "executorch": "mobileone.exporting.executorch",
    "coreml": "mobileone.exporting.coreml",
    "ncnn": "mobileone.exporting.ncnn",
    "torch": "mobileone.exporting.torch",
}


def exporter(name: FormatName) -> Exporter:
    """The exporter of a format."""
    module: Exporter = import_module(_MODULES[name])
    return module
