"""Write ExecuTorch's .pte files for its XNNPACK backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobileone.backends.export_options import ExportOptions, tensor_spec
from mobileone.backends.manifest import TensorSpec
from mobileone.backends.quiet import quiet
from mobileone.backends.table import BACKENDS, require
from mobileone.backends.traceable import TraceableNetwork, dynamic_shapes, example
from mobileone.errors import ConfigError
from mobileone.model.features import Network

MAX_BATCH = 64  # memory is planned for as many images when a program with a dynamic batch is written


def check(options: ExportOptions) -> None:
    """Refuse half precision, which its CPU runtime does not execute here."""
    with quiet():
        require("executorch.exir", BACKENDS["executorch"])
    if options.half:
        raise ConfigError("executorch: half precision needs a phone's processor to check it; leave half out")


def tensor(model: Network, options: ExportOptions) -> TensorSpec:
    """Raw pixels are bytes as a camera orders them."""
    return tensor_spec(model, options, layout="NHWC" if options.raw_input else "NCHW", uint8=True)


def write(model: Network, path: Path, options: ExportOptions) -> Sequence[Path]:
    """One file, weights inside."""
    with quiet(), torch.no_grad():
        spec = tensor(model, options)
        module = TraceableNetwork(model, layout=spec.layout, raw_input=options.raw_input, half=False)
        shapes = dynamic_shapes(options, maximum=MAX_BATCH)
        path.write_bytes(program(module, example(spec), shapes=shapes))
    return [path]


def program(module: nn.Module, images: Tensor, *, shapes: Any = None) -> bytes:
    """The content of a .pte file: a module of one input, in which XNNPACK runs all that it can."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    traced = torch.export.export(module, (images,), dynamic_shapes=shapes)
    # Plain operators: the ones with an order of axes work out an index for every byte that they cast.
    config = EdgeCompileConfig(_skip_dim_order=True)
    edge = to_edge_transform_and_lower(traced, partitioner=[XnnpackPartitioner()], compile_config=config)
    content: bytes = edge.to_executorch().buffer
    return content


def versions() -> Mapping[str, str]:
    """ExecuTorch, which lowers the network."""
    return {"executorch": version("executorch")}
