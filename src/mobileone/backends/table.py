"""The formats that a network can be exported to, as data, and the library behind each. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal

from mobileone.errors import ConfigError, MissingExtraError

FormatName = Literal["onnx", "openvino", "litert", "executorch", "coreml", "ncnn", "torch"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format.

    Attributes:
        name: what `--format` and `--backends` call it.
        suffix: of its main file.
        runtime: the library that executes it.
        extra: of this package, that installs what the format needs; None for what is always there.
        executes: the precisions in which the runtime can execute it here; empty where it cannot run.
    """

    name: FormatName
    suffix: str
    runtime: str
    extra: str | None
    executes: tuple[Precision, ...]


_ALL = (
    Format(name="onnx", suffix=".onnx", runtime="ONNX Runtime", extra="onnx", executes=("fp32", "int8")),
    Format(
        name="openvino",
        suffix=".xml",
        runtime="OpenVINO",
        extra="openvino",
        executes=("fp32", "bf16", "int8"),
    ),
    Format(name="litert", suffix=".tflite", runtime="LiteRT", extra="litert", executes=("fp32", "int8")),
    Format(
        name="executorch", suffix=".pte", runtime="ExecuTorch", extra="executorch", executes=("fp32", "int8")
    ),
    Format(name="coreml", suffix=".mlpackage", runtime="Core ML", extra="coreml", executes=()),
    Format(name="ncnn", suffix=".ncnn.param", runtime="ncnn", extra="ncnn", executes=("fp32", "bf16")),
    Format(name="torch", suffix=".pt2", runtime="PyTorch", extra=None, executes=("fp32", "fp16")),
)
FORMATS: dict[FormatName, Format] = {each.name: each for each in _ALL}


def format_of(path: str | os.PathLike[str]) -> Format | None:
    """The format of an exported file by its suffix, None for any other file.

    >>> format_of("s0.ncnn.param").name, format_of("s0.safetensors")
    ('ncnn', None)
    """
    name = Path(path).name.lower()
    return next((each for each in _ALL if name.endswith(each.suffix)), None)


def find_format(name: str) -> Format:
    """The format of that name.

    Raises:
        ConfigError: if there is none.
    """
    for each in _ALL:
        if each.name == name:
            return each
    raise ConfigError(f"format must be one of {', '.join(FORMATS)}, got {name!r}")


def require(package: str, wanted: Format) -> ModuleType:
    """Import a package that a format needs.

    Raises:
        MissingExtraError: if it is not installed, naming the extra.
    """
    try:
        return import_module(package)
    except ImportError as error:
        name, extra = package.partition(".")[0], wanted.extra
        raise MissingExtraError(
            f"{wanted.name} needs {name} ({error}); pip install 'mobileone[{extra}]'"
        ) from error
