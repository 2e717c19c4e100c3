"""Write .onnx files with PyTorch's exporter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from mobileone.backends.export_options import INPUT_NAME, ExportOptions, output_names, tensor_spec
from mobileone.backends.manifest import TensorSpec
from mobileone.backends.quiet import quiet
from mobileone.backends.table import BACKENDS, require
from mobileone.backends.traceable import TraceableNetwork, dynamic_shapes, example
from mobileone.model.features import Network

OPSET = 18  # the lowest that the exporter writes without converting, and the one that most runtimes read


def check(options: ExportOptions) -> None:
    """ONNX holds every option."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, BACKENDS["onnx"])


def tensor(model: Network, options: ExportOptions) -> TensorSpec:
    """Raw pixels are bytes as a camera orders them."""
    return tensor_spec(model, options, layout="NHWC" if options.raw_input else "NCHW", uint8=True)


def write(model: Network, path: Path, options: ExportOptions) -> Sequence[Path]:
    """One file, weights inside."""
    spec = tensor(model, options)
    module = TraceableNetwork(model, layout=spec.layout, raw_input=options.raw_input, half=options.half)
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example(spec),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=output_names(model),
            dynamic_shapes=dynamic_shapes(options),
            verbose=False,
        )
        assert program is not None
        program.save(path, external_data=False)
    return [path]


def versions() -> Mapping[str, str]:
    """ONNX, and the library that PyTorch's exporter writes with."""
    return {name: version(name) for name in ("onnx", "onnxscript")}
