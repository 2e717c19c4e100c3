"""What each backend can do, one line a backend, and where its code lies. Imports no torch.

To add a backend, add a line to `BACKENDS` and a folder of that name beside this file:

    backends/<name>/session.py       what runs its files; `Session` and `SessionModule` in backends/session.py
    backends/<name>/writer.py        what writes float networks; `Writer` in backends/writer.py
    backends/<name>/writer_int8.py   what writes int8 networks; `Int8Writer` in backends/writer.py

A folder holds what its line promises and no more: a session where `executes` names a precision, a writer
where `writes` names fp32, an int8 writer where it names int8. Nothing else lists backends: `export`,
`quantize`, `bench`, the manifests, the error texts and the choices of the command line read this table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal

from mobileone.distribution import WHOLE_ONLY, pip_install
from mobileone.errors import ConfigError, MissingExtraError
from mobileone.telemetry import import_silent

Precision = Literal["fp32", "fp16", "bf16", "int8"]
Int8Head = Literal["weights", "dynamic", "static"]
Part = Literal["session", "writer", "writer_int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A format, the runtime that executes it, and what this package can do with both.

    Attributes:
        name: what users call it, and its folder.
        suffix: of its main file.
        runtime: the library that executes it.
        extra: of this package, that installs what the backend needs; None for what is always there.
        writes: the precisions in which its files can be written; fp32 and fp16 by its writer, int8 by its
            int8 writer.
        executes: the precisions in which the runtime can execute them here; empty where it cannot run.
        int8_head: what the classifier of its int8 files reads, the one thing in which int8 runtimes differ:
            the average in float (`weights`: only these are int8), or in eight bits with a scale of the
            image's own (`dynamic`) or with the calibrated one (`static`). None where it writes no int8.
        saturates: whether its int8 kernels add two products of bytes in 16 bits on processors that have
            nothing better (`processor.saturates_bytes`); weights of seven bits fit.
        elsewhere: the systems on which it runs, where that is not here.
        companion: of a file that the runtime opens beside the main one, the suffix that stands in place of
            the main one's.
        on_gpu: where else than on the CPU its sessions run, and in which precisions there.
        is_program: whether running its files is running code that is in them, and not only a network.
        is_source: whether they are source code, whose functions can be given names.
        features: the precisions in which its files can give feature maps, several outputs.
        features_layout: order of these maps' axes.
    """

    name: str
    suffix: str
    runtime: str
    extra: str | None
    writes: tuple[Precision, ...]
    executes: tuple[Precision, ...]
    int8_head: Int8Head | None = None
    saturates: bool = False
    elsewhere: str = ""
    companion: str | None = None
    on_gpu: Mapping[str, tuple[Precision, ...]] = field(default_factory=dict, hash=False)
    is_program: bool = False
    is_source: bool = False
    features: tuple[Precision, ...] = ()
    features_layout: Literal["NCHW", "NHWC"] = "NCHW"

    @property
    def devices(self) -> tuple[str, ...]:
        """Where its sessions run."""
        return ("cpu", *self.on_gpu)

    def files(self, path: Path) -> tuple[Path, ...]:
        """Of a main file: itself, and what the runtime opens beside it.

        >>> [path.name for path in BACKENDS["c"].files(Path("out/net.c"))]
        ['net.c', 'net.h']
        """
        if self.companion is None:
            return (path,)
        return path, path.with_name(f"{path.name[: -len(self.suffix)]}{self.companion}")

    def executes_on(self, device: str) -> tuple[Precision, ...]:
        """The precisions in which the runtime can execute its files on one of its devices, `"cuda:1"` say.

        >>> BACKENDS["onnx"].executes_on("tensorrt:0")
        ('fp32', 'fp16')
        """
        name = device.partition(":")[0]
        return self.executes if name == "cpu" else self.on_gpu.get(name, ())


BACKENDS: dict[str, Backend] = {
    each.name: each
    for each in (
        Backend(
            name="onnx",
            suffix=".onnx",
            runtime="ONNX Runtime",
            extra="onnx",
            writes=("fp32", "fp16", "int8"),
            executes=("fp32", "int8"),
            int8_head="static",
            saturates=True,
            on_gpu={"cuda": ("fp32",), "tensorrt": ("fp32", "fp16")},
            features=("fp32", "fp16", "int8"),
        ),
        Backend(
            name="openvino",
            suffix=".xml",
            runtime="OpenVINO",
            extra="openvino",
            writes=("fp32", "fp16", "int8"),
            executes=("fp32", "bf16", "int8"),
            int8_head="static",
            saturates=True,
            companion=".bin",
            features=("fp32", "fp16", "int8"),
        ),
        Backend(
            name="litert",
            suffix=".tflite",
            runtime="LiteRT",
            extra="litert",
            writes=("fp32", "fp16", "int8"),
            executes=("fp32", "int8"),
            int8_head="dynamic",
            features=("fp32", "fp16", "int8"),
            features_layout="NHWC",
        ),
        Backend(
            name="executorch",
            suffix=".pte",
            runtime="ExecuTorch",
            extra="executorch",
            writes=("fp32", "int8"),
            executes=("fp32", "int8"),
            int8_head="dynamic",
            features=("fp32", "int8"),
        ),
        Backend(
            name="c",
            suffix=".c",
            runtime="C",
            extra="c",
            writes=("int8",),
            executes=("int8",),
            int8_head="static",
            companion=".h",
            is_program=True,
            is_source=True,
            features=("int8",),
            features_layout="NHWC",
        ),
        Backend(
            name="coreml",
            suffix=".mlpackage",
            runtime="Core ML",
            extra="coreml",
            writes=("fp32", "fp16"),
            executes=(),
            elsewhere="Apple's systems",
            features=("fp32", "fp16"),
        ),
        Backend(
            name="ncnn",
            suffix=".ncnn.param",
            runtime="ncnn",
            extra="ncnn",
            writes=("fp32", "fp16"),
            executes=("fp32", "bf16"),
            companion=".ncnn.bin",
            features=("fp32", "fp16"),
        ),
        Backend(
            name="torch",
            suffix=".pt2",
            runtime="PyTorch",
            extra=None,
            writes=("fp32", "fp16"),
            executes=("fp32", "fp16"),
            is_program=True,
            features=("fp32", "fp16"),
        ),
    )
}


def writing(precision: Precision) -> list[str]:
    """The names of the backends that can be written in a precision.

    >>> writing("int8")[:2]
    ['onnx', 'openvino']
    """
    return [each.name for each in BACKENDS.values() if precision in each.writes]


def require_features(backend: Backend, precision: Precision) -> None:
    """Refuse feature maps in a backend or a precision that has none.

    Raises:
        ConfigError: naming the backends that have.
    """
    if precision in backend.features:
        return
    able = [each.name for each in BACKENDS.values() if precision in each.features]
    raise ConfigError(
        f"{backend.name} gives no feature maps in {precision}; write a features_only network as "
        f"{', '.join(able)}"
    )


def backend_of(path: str | os.PathLike[str]) -> Backend | None:
    """The backend of an exported file by its suffix, None for any other file.

    >>> backend_of("s0.ncnn.param").name, backend_of("s0.safetensors")
    ('ncnn', None)
    """
    name = Path(path).name.lower()
    return next((each for each in BACKENDS.values() if name.endswith(each.suffix)), None)


def find_backend(name: str) -> Backend:
    """The backend of that name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in BACKENDS:
        raise ConfigError(f"format must be one of {', '.join(BACKENDS)}, got {name!r}")
    return BACKENDS[name]


def load_part(backend: Backend, part: Part) -> ModuleType:
    """The module of a backend's folder that does this."""
    return import_module(f"mobileone.backends.{backend.name}.{part}")


def require(package: str, wanted: Backend) -> ModuleType:
    """Import a package that a backend needs, as one that reports nothing to its maker.

    Raises:
        MissingExtraError: if it is not installed, naming the extra.
    """
    try:
        return import_silent(package)
    except ImportError as error:
        if error.name in WHOLE_ONLY:  # the package is there, and wants PyTorch itself
            raise
        name = package.partition(".")[0]
        advice = pip_install(wanted.extra or wanted.name)
        raise MissingExtraError(f"{wanted.name} needs {name} ({error}); {advice}") from error
