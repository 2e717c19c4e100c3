"""Write OpenVINO's .xml (graph) and .bin (weights)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from mobileone.backends.export_options import INPUT_NAME, ExportOptions, output_names, tensor_spec
from mobileone.backends.manifest import TensorSpec
from mobileone.backends.quiet import quiet
from mobileone.backends.table import BACKENDS, require
from mobileone.backends.traceable import TraceableNetwork, example
from mobileone.model.features import Network


def check(options: ExportOptions) -> None:
    """OpenVINO holds every option; `half` stores the weights as float16."""
    require("openvino", BACKENDS["openvino"])


def tensor(model: Network, options: ExportOptions) -> TensorSpec:
    """Raw pixels are bytes as a camera orders them."""
    return tensor_spec(model, options, layout="NHWC" if options.raw_input else "NCHW", uint8=True)


def write(model: Network, path: Path, options: ExportOptions) -> Sequence[Path]:
    """The graph, and the weights beside it."""
    ov = require("openvino", BACKENDS["openvino"])
    spec = tensor(model, options)
    module = TraceableNetwork(model, layout=spec.layout, raw_input=options.raw_input, half=False)
    shape = (-1 if options.batch is None else options.batch, *spec.shape(options.batch or 1)[1:])
    with quiet(), torch.no_grad():
        # By tracing: the graph from torch.export's program runs 1.5 % slower.
        graph = ov.convert_model(module, example_input=example(spec), input=[list(shape)])
        graph.inputs[0].set_names({INPUT_NAME})
        for output, name in zip(graph.outputs, output_names(model), strict=True):
            output.set_names({name})
        ov.save_model(graph, str(path), compress_to_fp16=options.half)
    return [path, path.with_suffix(".bin")]


def versions() -> Mapping[str, str]:
    """OpenVINO, which converts and writes."""
    return {"openvino": version("openvino")}
