"""Write Core ML's .mlpackage (an ML program). It can be written anywhere and runs on Apple's systems only."""

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
from mobileone.errors import ConfigError
from mobileone.model.features import Network


def check(options: ExportOptions) -> None:
    """Refuse what an image input cannot be."""
    with quiet():
        require("coremltools", BACKENDS["coreml"])
    if options.raw_input and options.batch != 1:
        raise ConfigError(
            "coreml: an image input takes one image at a time; leave dynamic_batch and batch_size out"
        )


def tensor(model: Network, options: ExportOptions) -> TensorSpec:
    """Raw pixels are an image input: the system hands over camera buffers as RGB, (1, 3, H, W) inside."""
    return tensor_spec(model, options, layout="NCHW", uint8=False)


def write(model: Network, path: Path, options: ExportOptions) -> Sequence[Path]:
    """A folder; weights are float16 with `half`, else float32."""
    with quiet(), torch.no_grad():
        import coremltools as ct

        spec = tensor(model, options)
        module = TraceableNetwork(model, layout="NCHW", raw_input=options.raw_input, half=False)
        program = torch.export.export(module, (example(spec),), dynamic_shapes=dynamic_shapes(options))
        program = program.run_decompositions({})
        batch = ct.RangeDim(1, 64, 1) if options.batch is None else options.batch
        shape = (batch, *spec.shape(options.batch or 1)[1:])
        if options.raw_input:
            colour = ct.colorlayout.RGB if model.in_chans == 3 else ct.colorlayout.GRAYSCALE
            given = ct.ImageType(name=INPUT_NAME, shape=shape, color_layout=colour)
        else:
            given = ct.TensorType(name=INPUT_NAME, shape=shape)
        package = ct.convert(
            program,
            convert_to="mlprogram",
            inputs=[given],
            outputs=[ct.TensorType(name=name) for name in output_names(model)],
            compute_precision=ct.precision.FLOAT16 if options.half else ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS15,
            skip_model_load=True,
        )
        package.save(str(path))
    return [path]


def versions() -> Mapping[str, str]:
    """coremltools, which converts."""
    return {"coremltools": version("coremltools")}
