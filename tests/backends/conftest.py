"""Artifacts of the small networks, for the tests of sessions."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mobileone.backends.c.symbols import CSymbols
from mobileone.backends.export_options import ExportOptions, tensor_spec
from mobileone.backends.manifest import manifest_path, record_files
from mobileone.backends.table import BACKENDS
from mobileone.backends.trusted_programs import note_written
from mobileone.exporting.pipeline import describe
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.quantization.quantize import write_quantized


@pytest.fixture
def int8_file(small_network, quantized, other_pictures, tmp_path) -> Callable[..., Path]:
    """`int8_file(name)`: the small network in int8 for a backend, two images at a time; symbols for C."""

    def write(name: str, symbols: CSymbols | None = None) -> Path:
        stem = "int8" if symbols is None else symbols.prefix
        path = tmp_path / f"{stem}{BACKENDS[name].suffix}"
        write_quantized(
            quantized,
            small_network,
            path,
            format=name,
            images=other_pictures,
            expected=TorchClassifier(small_network).logits(other_pictures),
            options={"batch": 2},
            symbols=symbols,
        )
        return path

    return write


@pytest.fixture
def garbage(network, tmp_path) -> Callable[[str], Path]:
    """`garbage(name)`: a file that is no network, with a manifest that fits it."""

    def write(name: str) -> Path:
        path = tmp_path / f"garbage{BACKENDS[name].suffix}"
        path.write_bytes(b"no network")
        files = [path]
        if (suffix := BACKENDS[name].companion) is not None:
            files.append(path.with_name(f"garbage{suffix}"))
            files[1].write_bytes(b"no weights")
        manifest = describe(
            network,
            format=name,
            precision="fp32",
            tensor=tensor_spec(network, ExportOptions(), layout="NCHW", uint8=False),
            options={},
            versions={},
            source="test",
        )
        manifest = replace(manifest, files=record_files(path, files))
        manifest.write(manifest_path(path))
        note_written(manifest)
        return path

    return write
