"""The one way to an artifact: write it, load it in its own runtime, compare, only then put it in place."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mobileone.atomic import refuse_existing, staging
from mobileone.backends.artifact import Artifact
from mobileone.backends.export_options import output_names
from mobileone.backends.manifest import Manifest, OutputSpec, TensorSpec, manifest_path, record_files
from mobileone.backends.quiet import quiet
from mobileone.backends.table import BACKENDS, Backend, Precision, require_features
from mobileone.backends.trusted_programs import note_written
from mobileone.data.pixels import normalize
from mobileone.distribution import package_version
from mobileone.errors import ConfigError, ExportError, MobileOneError
from mobileone.exporting.parity import compare
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.input_spec import Size, sides, size_text
from mobileone.model.features import FeatureExtractor, Network
from mobileone.model.network import MobileOne
from mobileone.model.wrapped import as_network, unwrap
from mobileone.outside_text import require_unicode
from mobileone.reparam.as_built import INSTEAD, require_as_built
from mobileone.reparam.verify import reparameterize_verified

MAX_SIZE = 4096
N = TypeVar("N", MobileOne, FeatureExtractor)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evidence:
    """What an artifact is held against.

    Attributes:
        pixels: uint8 (N, C, size, size).
        expected: PyTorch's outputs for them in float32: logits (N, classes), or feature maps (N, C, H, W).
        images: what the pixels are, for the report.
        tolerance: greatest relative difference that passes; None where it is not to be the same function.
    """

    pixels: Tensor
    expected: Tensor | Sequence[Tensor]
    images: str
    tolerance: float | None


def choose_target(
    model: nn.Module,
    path: str | os.PathLike[str],
    backend: Backend,
    *,
    precision: Precision = "fp32",
    force: bool = False,
) -> Path:
    """The file that will be written, before any work.

    Raises:
        ConfigError: on another format's suffix, an existing file without `force`, or feature maps where the
            format has none in that precision.
    """
    network = unwrap(model)
    if isinstance(network, FeatureExtractor):
        require_features(backend, precision)
    target = artifact_path(path, backend, getattr(getattr(network, "variant", None), "name", "model"))
    refuse_existing(*backend.files(target), manifest_path(target), force=force)
    return target


def artifact_path(path: str | os.PathLike[str], backend: Backend, name: str) -> Path:
    """The main file for an output argument: itself, or named after the network in a folder.

    Raises:
        ConfigError: if it has another format's suffix, or none and is no folder's name.
    """
    require_unicode(path, what="the file to write")
    target, suffix = Path(path), backend.suffix
    folder = str(path).endswith(("/", os.sep)) or (target.is_dir() and not target.name.endswith(suffix))
    if folder or not target.suffix:
        return target / f"{name}{suffix}"
    if not target.name.lower().endswith(suffix) or target.name.lower() == suffix:
        raise ConfigError(f"a file of {backend.name} is called *{suffix}, got {target.name}")
    return target


def ready(model: nn.Module, *, input_size: Size | None = None) -> MobileOne:
    """The network to export: fused and proved to compute the same, float32, on the CPU, with this input size.

    Raises:
        ConfigError: if it is no MobileOne, or the size makes no sense for it.
        ExportError: if it is in training mode, has a part that its variant and head do not tell, or a weight
            is NaN or infinite.
        VerificationError: if fusing changes what it computes.
    """
    return ready_network(as_network(model, wanted="export takes a MobileOne"), input_size=input_size)


def ready_network(model: N, *, input_size: Size | None = None) -> N:
    """`ready` for either kind of network, out of its wrappers."""
    if model.training:
        raise ExportError("cannot export a model in training mode; call model.eval() first")
    bad = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise ExportError(f"cannot export: {bad[0]} has NaN or infinite values; the weights are no use")
    require_as_built(model, doing="export", error=ExportError, instead=INSTEAD)
    size = model.input_spec.size if input_size is None else input_size
    if not all(model.output_stride <= side <= MAX_SIZE for side in sides(size)):
        raise ConfigError(
            f"input size must be between {model.output_stride}, the network's stride, and {MAX_SIZE} pixels, "
            f"got {size_text(size)}"
        )
    network = copy.deepcopy(model).to("cpu", torch.float32)
    network.input_spec = replace(network.input_spec, size=size)
    return (reparameterize_verified(network) if network.form == "train" else network).eval()


def ready_either(model: nn.Module, *, input_size: Size | None = None) -> Network:
    """`ready` for a MobileOne or a FeatureExtractor."""
    given = unwrap(model)
    if isinstance(given, FeatureExtractor):
        return ready_network(given, input_size=input_size)
    return ready(model, input_size=input_size)


@torch.inference_mode()
def outputs_of(network: Network, pixels: Tensor) -> Tensor | Sequence[Tensor]:
    """Logits, or feature maps, of PyTorch in float32."""
    if isinstance(network, FeatureExtractor):
        maps: list[Tensor] = network(normalize(pixels, network.input_spec))
        return maps
    return TorchClassifier(network).logits(pixels)


def feature_specs(network: Network, maps: Sequence[Tensor], backend: Backend) -> list[OutputSpec]:
    """These maps as the manifest lists them."""
    return [
        OutputSpec(
            name=name,
            layout=backend.features_layout,
            channels=each.shape[1],
            height=each.shape[2],
            width=each.shape[3],
        )
        for name, each in zip(output_names(network), maps, strict=True)
    ]


def describe(
    network: Network,
    *,
    format: str,
    precision: Precision,
    tensor: TensorSpec,
    options: Mapping[str, Any],
    versions: Mapping[str, str],
    source: str,
    features: Sequence[OutputSpec] = (),
    note: str = "",
) -> Manifest:
    """The manifest of what will be written; `write_artifact` adds the files and the comparison.

    Args:
        network: in float, fused.
        format: the backend's name.
        precision: of the artifact's arithmetic.
        tensor: its input.
        options: of the export.
        versions: of the libraries that write it, beside this package and PyTorch.
        source: where the network came from.
        features: its outputs, where these are feature maps.
        note: what a user must know.
    """
    classifier = network if isinstance(network, MobileOne) else None
    num_classes = classifier.num_classes if classifier else 0
    return Manifest(
        format=format,
        files=(),
        variant=network.variant.name,
        source=source,
        weights_sha256=weights_sha256(network),
        precision=precision,
        tensor=tensor,
        input_spec=network.input_spec,
        num_classes=num_classes,
        embedding_size=classifier.num_features if classifier and not num_classes else 0,
        class_names=classifier.class_names if classifier else None,
        task=classifier.task if classifier else "singlelabel",
        # Integers move logits: an int8 file gets a decision of its own.
        decision=classifier.decision if classifier and precision != "int8" else None,
        features=tuple(features),
        licence=network.licence,
        output_stride=network.output_stride,
        options=options,
        versions={**package_versions(), **versions},
        parity=None,
        note=note,
    )


def write_artifact(
    write: Callable[[Path], Sequence[Path]], target: Path, manifest: Manifest, evidence: Evidence
) -> Manifest:
    """Write an artifact with its manifest, once its runtime has executed it.

    Args:
        write: writes it to a path and gives all its files, the main one first; any exception is a failure.
        target: where it goes.
        manifest: as `describe` gives it.
        evidence: what it must compute.

    Returns:
        The manifest with the files and the comparison's result, or a note where there can be none.

    Raises:
        ExportError: if it cannot be written, or computes something else; nothing is there then that was not
            there before.
    """
    with staging(target) as folder:
        written = folder / target.name
        files = _written(write, written, manifest)
        manifest = replace(manifest, files=record_files(written, files))
        note_written(manifest)
        manifest = _compared(manifest, written, evidence)
        manifest.write(manifest_path(written))
    return manifest


def _written(write: Callable[[Path], Sequence[Path]], path: Path, manifest: Manifest) -> Sequence[Path]:
    try:
        with quiet():
            return write(path)
    except MobileOneError:
        raise
    except Exception as error:  # the converters' own exceptions have no common base
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else type(error).__name__
        how = " in int8" if manifest.precision == "int8" else ""
        raise ExportError(f"{manifest.format} cannot be written{how}: {reason}") from error


def _compared(manifest: Manifest, path: Path, evidence: Evidence) -> Manifest:
    """The manifest with the comparison's result, or with a note where there can be none."""
    backend = BACKENDS[manifest.format]
    if not backend.executes:
        where = f"{backend.runtime} runs on {backend.elsewhere} only"
        return replace(manifest, note=f"not compared with PyTorch: {where}; check it there")
    parity = compare(
        Artifact(path, manifest=manifest),
        evidence.expected,
        evidence.pixels,
        images=evidence.images,
        tolerance=evidence.tolerance,
    )
    return replace(manifest, parity=parity)


def weights_sha256(network: Network) -> str:
    """Of all parameters and buffers with their names, in their order."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def package_versions() -> Mapping[str, str]:
    """This package's and PyTorch's, for the manifest."""
    return {"mobileone": package_version(), "torch": str(torch.__version__)}
