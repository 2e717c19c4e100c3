"""Export a network: fuse, write, load in its own runtime, compare, and only then put the files in place."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobileone.atomic import refuse_existing, staging
from mobileone.backends.artifact import Artifact
from mobileone.backends.deployable import Options
from mobileone.backends.exporter import Exporter, exporter
from mobileone.backends.manifest import Manifest, manifest_path, record_files
from mobileone.backends.table import Format, FormatName, find_format
from mobileone.errors import ConfigError, ExportError, MobileOneError
from mobileone.exporting.parity import SEEDED, TOLERANCES, compare, seeded_pictures
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.model.network import MobileOne
from mobileone.reparam.fuse import reparameterize

MAX_SIZE = 4096


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
    format: FormatName,
    raw_input: bool = False,
    dynamic_batch: bool = False,
    batch_size: int = 1,
    input_size: int | None = None,
    half: bool = False,
    images: Tensor | None = None,
    source: str = "",
    force: bool = False,
) -> Exported:
    """Write a network for another runtime, with proof that it computes the same there.

    Args:
        model: a MobileOne in eval mode; it is fused where it is not.
        path: the file to write, with the format's suffix; or a folder, where it is named after the variant.
        format: of the artifact.
        raw_input: put normalisation into the graph, so that it takes pixels: uint8 (N, H, W, C), RGB, where
            the format can, exactly also at the padded border.
        dynamic_batch: take any number of images at a time.
        batch_size: the number of images at a time otherwise.
        input_size: side of the input, pixels; None is the model's.
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
    >>> from mobileone.model.create import create_model
    >>> model = create_model("mobileone_s0", num_classes=10, form="inference").eval()
    >>> done = export(model, Path(tempfile.mkdtemp()) / "s0.pt2", format="torch", input_size=64)
    >>> done.manifest.parity.top1_agreement
    1.0
    """
    kind = find_format(format)
    options = Options(raw_input=raw_input, batch=None if dynamic_batch else batch_size, half=half)
    if batch_size < 1 or (dynamic_batch and batch_size != 1):
        raise ConfigError(f"give a batch size of at least 1, or a dynamic batch, got {batch_size}")
    target = artifact_path(path, kind, getattr(getattr(model, "variant", None), "name", "model"))
    refuse_existing(target, force=force)
    writer = exporter(format)
    writer.check(options)
    network = ready(model, input_size=input_size)
    pixels = seeded_pictures(network.input_spec) if images is None else images
    expected = TorchClassifier(network).logits(pixels)
    if not expected.isfinite().all():
        raise ExportError(
            "the network gives NaN or infinite logits in PyTorch already; it is no use to export"
        )
    with staging(target) as folder:
        written = folder / target.name
        files = _write(writer, network, written, options, kind)
        manifest = Manifest(
            format=format,
            files=record_files(written, files),
            variant=network.variant.name,
            source=source,
            weights_sha256=weights_sha256(network),
            precision="fp16" if half else "fp32",
            tensor=writer.tensor(network, options),
            input_spec=network.input_spec,
            num_classes=network.num_classes,
            class_names=network.class_names,
            options=asdict(options),
            versions={**package_versions(), **writer.versions()},
            parity=None,
        )
        manifest = _proved(
            manifest, written, kind, expected, pixels, what=SEEDED if images is None else "images"
        )
        manifest.write(manifest_path(written))
    return Exported(target, manifest)


def artifact_path(path: str | os.PathLike[str], kind: Format, name: str) -> Path:
    """The main file for an output argument: itself, or named after the network in a folder.

    Raises:
        ConfigError: if it has another format's suffix, or none and is no folder's name.
    """
    target = Path(path)
    folder = str(path).endswith(("/", os.sep)) or (target.is_dir() and not target.name.endswith(kind.suffix))
    if folder or not target.suffix:
        return target / f"{name}{kind.suffix}"
    if not target.name.lower().endswith(kind.suffix) or target.name.lower() == kind.suffix:
        raise ConfigError(f"a file of {kind.name} is called *{kind.suffix}, got {target.name}")
    return target


def ready(model: nn.Module, *, input_size: int | None = None) -> MobileOne:
    """The network to export: fused, float32, on the CPU, with this input size.

    Raises:
        ConfigError: if it is no MobileOne classifier, or the size makes no sense for it.
        ExportError: if it is in training mode, or a weight is NaN or infinite.
    """
    if not isinstance(model, MobileOne):
        raise ConfigError(f"export takes a MobileOne classifier, got {type(model).__name__}")
    if not model.num_classes:
        raise ConfigError("this model has no classifier (num_classes=0), so there are no logits to compare")
    if model.training:
        raise ExportError("cannot export a model in training mode; call model.eval() first")
    bad = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise ExportError(f"cannot export: {bad[0]} has NaN or infinite values; the weights are no use")
    size = model.input_spec.size if input_size is None else input_size
    if not model.output_stride <= size <= MAX_SIZE:
        raise ConfigError(
            f"input size must be between {model.output_stride}, the network's stride, and {MAX_SIZE} pixels, "
            f"got {size}"
        )
    fused = reparameterize(model) if model.form == "train" else copy.deepcopy(model)
    network = fused.to("cpu", torch.float32)
    network.input_spec = replace(network.input_spec, size=size)
    return network.eval()


def _write(writer: Exporter, network: MobileOne, path: Path, options: Options, kind: Format) -> list[Path]:
    try:
        return list(writer.write(network, path, options))
    except MobileOneError:
        raise
    except Exception as error:  # the converters' own exceptions have no common base
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else type(error).__name__
        raise ExportError(f"{kind.name} cannot be written: {reason}") from error


def _proved(
    manifest: Manifest, path: Path, kind: Format, expected: Tensor, pixels: Tensor, *, what: str
) -> Manifest:
    """The manifest with the comparison's result, or with a note where there can be none."""
    if not kind.executes:
        note = f"not compared with PyTorch: {kind.runtime} runs on Apple's systems only; check it there"
        return replace(manifest, note=note)
    artifact = Artifact(path, manifest=manifest)
    tolerance = TOLERANCES[manifest.precision]
    return replace(manifest, parity=compare(artifact, expected, pixels, images=what, tolerance=tolerance))


def weights_sha256(network: MobileOne) -> str:
    """Of all parameters and buffers with their names, in their order."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def package_versions() -> Mapping[str, str]:
    """Of this package and PyTorch."""
    return {"mobileone": version("mobileone"), "torch": str(torch.__version__)}
