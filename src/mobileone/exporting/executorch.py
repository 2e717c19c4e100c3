"""Write ExecuTorch's .pte files for its XNNPACK backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from mobileone.errors import ConfigError
from mobileone.exporting.deployable import Deployable, Options, dynamic_shapes, example, tensor_spec
from mobileone.model.network import MobileOne
from mobileone.runtime.formats import FORMATS, require
from mobileone.runtime.manifest import TensorSpec
from mobileone.runtime.quiet import quiet

MAX_BATCH = 64  # memory is planned for as many images when a program with a dynamic batch is written


def check(options: Options) -> None:
    """Refuse half precision, which its CPU runtime does not execute here."""
    with quiet():
        require("executorch.exir", FORMATS["executorch"])
    if options.half:
        raise ConfigError("executorch: half precision needs a phone's processor to check it; drop --half")


def tensor(model: MobileOne, options: Options) -> TensorSpec:
    """Raw pixels are bytes as a camera orders them."""
    return tensor_spec(model, options, layout="NHWC" if options.raw_input else "NCHW", uint8=True)


def write(model: MobileOne, path: Path, options: Options) -> Sequence[Path]:
    """One file, weights inside."""
    with quiet(), torch.no_grad():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        spec = tensor(model, options)
        module = Deployable(model, layout=spec.layout, raw_input=options.raw_input, half=False)
        shapes = dynamic_shapes(options, maximum=MAX_BATCH)
        program = torch.export.export(module, (example(spec),), dynamic_shapes=shapes)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
        path.write_bytes(lowered.buffer)
    return [path]


def versions() -> Mapping[str, str]:
    """Of ExecuTorch."""
    return {"executorch": version("executorch")}
