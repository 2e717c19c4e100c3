"""Write .pt2 files: programs of torch.export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from mobileone.backends.export_options import ExportOptions, tensor_spec
from mobileone.backends.manifest import TensorSpec
from mobileone.backends.quiet import quiet
from mobileone.backends.traceable import TraceableNetwork, dynamic_shapes, example
from mobileone.model.features import Network


def check(options: ExportOptions) -> None:
    """PyTorch holds every option."""


def tensor(model: Network, options: ExportOptions) -> TensorSpec:
    """Raw pixels are bytes as a camera orders them."""
    return tensor_spec(model, options, layout="NHWC" if options.raw_input else "NCHW", uint8=True)


def write(model: Network, path: Path, options: ExportOptions) -> Sequence[Path]:
    """One file, weights inside."""
    spec = tensor(model, options)
    module = TraceableNetwork(model, layout=spec.layout, raw_input=options.raw_input, half=options.half)
    with quiet(), torch.no_grad():
        program = torch.export.export(module, (example(spec),), dynamic_shapes=dynamic_shapes(options))
        torch.export.save(program, path)
    return [path]


def versions() -> Mapping[str, str]:
    """PyTorch's own stands in every manifest."""
    return {}
