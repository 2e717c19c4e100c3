"""What a format's module in this package must offer: one protocol for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

from mobileone.backends.manifest import TensorSpec
from mobileone.backends.table import FormatName
from mobileone.backends.traceable import Options
from mobileone.model.network import MobileOne


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
    "onnx": "mobileone.backends.onnx.writer",
    "openvino": "mobileone.backends.openvino.writer",
    "litert": "mobileone.backends.litert.writer",
    "executorch": "mobileone.backends.executorch.writer",
    "coreml": "mobileone.backends.coreml.writer",
    "ncnn": "mobileone.backends.ncnn.writer",
    "torch": "mobileone.backends.torch.writer",
}


def exporter(name: FormatName) -> Exporter:
    """The exporter of a format."""
    module: Exporter = import_module(_MODULES[name])
    return module
