"""Export a network in float: fuse it, and let the pipeline write and prove the file."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mobileone.backends.export_options import ExportOptions
from mobileone.backends.manifest import Manifest
from mobileone.backends.table import Precision, find_backend
from mobileone.backends.writer import find_writer
from mobileone.errors import ConfigError, ExportError
from mobileone.exporting.parity import SEEDED, TOLERANCES, seeded_pictures
from mobileone.exporting.pipeline import (
    Evidence,
    choose_target,
    describe,
    feature_specs,
    outputs_of,
    ready_either,
    write_artifact,
)
from mobileone.input_spec import Size


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished export: the main file, and what stands beside it."""

    path: Path
    manifest: Manifest

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"path": str(self.path), "manifest": self.manifest.to_dict()}


def export(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    format: str,
    raw_input: bool = False,
    dynamic_batch: bool = False,
    batch_size: int = 1,
    input_size: Size | None = None,
    half: bool = False,
    images: Tensor | None = None,
    source: str = "",
    force: bool = False,
) -> Exported:
    """Write a network for another runtime, with proof that it computes the same there.

    Args:
        model: a MobileOne or a FeatureExtractor in eval mode; it is fused where it is not.
        path: the file to write, with the format's suffix; or a folder, where it is named after the variant.
        format: a backend that backends/table.py has written in fp32, such as onnx or litert.
        raw_input: put normalisation into the graph, so that it takes pixels: uint8 (N, H, W, C), RGB, where
            the format can, exactly also at the padded border.
        dynamic_batch: take any number of images at a time.
        batch_size: the number of images at a time otherwise.
        input_size: side of a square input, or (height, width), pixels; None is the model's.
        half: store weights as float16; which formats then also compute in it, docs/export.md says.
        images: pictures for the comparison, uint8 (N, C, size, size); None takes seeded ones.
        source: where the model came from, for the manifest.
        force: replace what is there.

    Raises:
        ExportError: if the network cannot be written, or the artifact computes something else; nothing is
            written then.
        ConfigError: on an option that the format does not have, a size that makes no sense, or an existing
            file without `force`.
        MissingExtraError: if a library is not installed.

    >>> import tempfile
    >>> from mobileone import create_model
    >>> model = create_model("mobileone_s0", num_classes=10, form="inference").eval()
    >>> done = export(model, Path(tempfile.mkdtemp()) / "s0.pt2", format="torch", input_size=64)
    >>> done.manifest.parity.top1_agreement
    1.0
    """
    backend, writer = find_backend(format), find_writer(format)
    options = ExportOptions(raw_input=raw_input, batch=None if dynamic_batch else batch_size, half=half)
    if batch_size < 1 or (dynamic_batch and batch_size != 1):
        raise ConfigError(f"give a batch size of at least 1, or a dynamic batch, got {batch_size}")
    precision: Precision = "fp16" if half else "fp32"
    target = choose_target(model, path, backend, precision=precision, force=force)
    writer.check(options)
    network = ready_either(model, input_size=input_size)
    pixels = seeded_pictures(network.input_spec) if images is None else images
    expected = outputs_of(network, pixels)
    if not all(each.isfinite().all() for each in expected):
        given_out = "logits" if isinstance(expected, Tensor) else "feature maps"
        raise ExportError(
            f"the network gives NaN or infinite {given_out} in PyTorch already; it is no use to export"
        )
    manifest = describe(
        network,
        format=format,
        precision=precision,
        tensor=writer.tensor(network, options),
        options=asdict(options),
        versions=writer.versions(),
        source=source,
        features=() if isinstance(expected, Tensor) else feature_specs(network, expected, backend),
    )
    evidence = Evidence(
        pixels=pixels,
        expected=expected,
        images=SEEDED if images is None else "images",
        tolerance=TOLERANCES[precision],
    )
    manifest = write_artifact(lambda file: writer.write(network, file, options), target, manifest, evidence)
    return Exported(target, manifest)
