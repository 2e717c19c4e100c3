"""Write ncnn's .ncnn.param (graph) and .ncnn.bin (weights) with pnnx, its converter for PyTorch."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from mobileone.backends.export_options import ExportOptions, tensor_spec
from mobileone.backends.manifest import TensorSpec
from mobileone.backends.quiet import quiet
from mobileone.backends.table import BACKENDS, require
from mobileone.backends.traceable import TraceableNetwork, example
from mobileone.errors import ConfigError, ExportError
from mobileone.model.features import Network

TIMEOUT_S = 300


def check(options: ExportOptions) -> None:
    """Refuse a batch: ncnn's blobs have no such axis."""
    for package in ("ncnn", "pnnx"):
        require(package, BACKENDS["ncnn"])
    if options.batch != 1:
        raise ConfigError("ncnn takes one image at a time; leave dynamic_batch and batch_size out")


def tensor(model: Network, options: ExportOptions) -> TensorSpec:
    """Raw pixels are floats from 0 to 255, as `ncnn::Mat::from_pixels` makes them of a camera's bytes."""
    return tensor_spec(model, options, layout="NCHW", uint8=False)


def write(model: Network, path: Path, options: ExportOptions) -> Sequence[Path]:
    """The graph, and the weights beside it."""
    spec = tensor(model, options)
    module = TraceableNetwork(model, layout="NCHW", raw_input=options.raw_input, half=False)
    weights = path.with_name(path.name.removesuffix(".param") + ".bin")
    with tempfile.TemporaryDirectory(prefix="mobileone-ncnn-") as folder:
        traced = Path(folder) / "network.pt"
        with quiet(), torch.no_grad():
            torch.jit.trace(module, example(spec), check_trace=False).save(traced)  # type: ignore[no-untyped-call]
        _run_pnnx(traced, spec, half=options.half)
        made = [traced.with_name(f"network.ncnn.{kind}") for kind in ("param", "bin")]
        for source, target in zip(made, (path, weights), strict=True):
            target.write_bytes(source.read_bytes())
    return [path, weights]


def _run_pnnx(traced: Path, spec: TensorSpec, *, half: bool) -> None:
    """pnnx is a program; its Python package only calls it."""
    pnnx = require("pnnx", BACKENDS["ncnn"])
    shape = ",".join(str(size) for size in spec.shape(1))
    command = [pnnx.EXEC_PATH, str(traced), f"inputshape=[{shape}]f32", f"fp16={int(half)}"]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, cwd=traced.parent
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise ExportError(f"pnnx failed: {lines[-1] if lines else done.returncode}")


def versions() -> Mapping[str, str]:
    """ncnn, whose format it is, and pnnx, which converts."""
    return {name: version(name) for name in ("ncnn", "pnnx")}
