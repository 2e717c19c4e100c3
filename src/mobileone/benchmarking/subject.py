"""What is benchmarked: networks, which are exported for every backend first, and finished artifacts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobileone.backends.manifest import Manifest, read_manifest
from mobileone.backends.table import backend_of
from mobileone.benchmarking.floor import NetworkShapes
from mobileone.distribution import needing_pytorch
from mobileone.errors import ConfigError
from mobileone.imagenet import resolve_classes
from mobileone.input_spec import InputSpec, Size, square_or_sides
from mobileone.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from mobileone.model.network import MobileOne

WITH_CLASSIFIER = "bench compares logits, so give a network that has one"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSubject:
    """One MODEL.

    Attributes:
        source: as it was given; empty for a module.
        network: title of what it computes; artifacts of a network given beside them carry the network's.
        input_spec: how photos become its input.
        num_classes: length of the logits.
        class_names: one a class; None where unknown.
        shapes: for the floor; None for an artifact of a variant that is nobody's, whose network is not given
            too.
        model: the fused network; None for an artifact.
        artifact: the file; None for a network.
        manifest: the artifact's.
    """

    source: str
    network: str
    input_spec: InputSpec
    num_classes: int
    class_names: tuple[str, ...] | None
    shapes: NetworkShapes | None
    model: MobileOne | None = None
    artifact: Path | None = None
    manifest: Manifest | None = None


def read_subjects(
    sources: Sequence[str | os.PathLike[str] | MobileOne],
    *,
    input_size: Size | None = None,
    class_names: Sequence[str] | None = None,
    weights_key: str | None = None,
) -> list[BenchSubject]:
    """Load every MODEL: what `load_model` takes, a network in eval mode, or the file of an artifact.

    Args:
        sources: them.
        input_size: of the networks; None is their own.
        class_names: of all, one an output; None is their own.
        weights_key: which weights of the checkpoints, as of `load_model`.

    Raises:
        ConfigError: if there is none, one has no classifier, there are but artifacts for another size, or one
            has another number of classes than there are names.
        CheckpointError, ArtifactError: if one cannot be read.
    """
    if not sources:
        raise ConfigError("nothing to benchmark: give at least one MODEL")
    titles: dict[str, str] = {}  # by the hash of the weights
    variants: dict[str, Variant] = {}  # of networks, by their titles
    found = []
    if input_size is not None and all(_is_artifact(source) for source in sources):
        raise ConfigError("exported files are for one size; export them with another input_size instead")
    # Networks first, so that their artifacts find the title.
    is_artifact = [_is_artifact(source) for source in sources]
    for index in sorted(range(len(sources)), key=lambda index: is_artifact[index]):
        source = sources[index]
        if not is_artifact[index]:
            found.append(_network(source, titles, input_size, weights_key))
            assert found[-1].model is not None
            variants[found[-1].network] = found[-1].model.variant
        else:
            found.append(_artifact(Path(source), titles, variants))  # type: ignore[arg-type]
    if class_names is None:
        return found
    return [replace(each, class_names=resolve_classes(each.num_classes, class_names)) for each in found]


def _is_artifact(source: str | os.PathLike[str] | MobileOne) -> bool:
    return isinstance(source, str | os.PathLike) and backend_of(source) is not None


def _title(name: str, source: str, digest: str, titles: dict[str, str]) -> str:
    """The variant's name; with the source where two networks share the variant."""
    if digest not in titles:
        titles[digest] = name if name not in titles.values() else f"{name} ({source or len(titles) + 1})"
    return titles[digest]


def _network(
    source: str | os.PathLike[str] | MobileOne,
    titles: dict[str, str],
    input_size: Size | None,
    weights_key: str | None,
) -> BenchSubject:
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    with needing_pytorch(f"{name or 'a network'}, which is no exported file,"):
        from mobileone.checkpoint.load import load_model
        from mobileone.exporting.pipeline import ready, weights_sha256
        from mobileone.model.wrapped import unwrap

    if isinstance(source, str | os.PathLike):
        source = load_model(source, form="inference", weights_key=weights_key)
    model = ready(unwrap(source), input_size=input_size)
    if not model.num_classes:
        raise ConfigError(f"{name or 'the network'} has no classifier (num_classes=0); {WITH_CLASSIFIER}")
    return BenchSubject(
        source=name,
        network=_title(model.variant.name, name, weights_sha256(model), titles),
        input_spec=model.input_spec,
        num_classes=model.num_classes,
        class_names=model.class_names,
        shapes=NetworkShapes(
            variant=model.variant,
            input_size=model.input_spec.size,
            num_classes=model.num_classes,
            in_chans=model.in_chans,
            output_stride=model.output_stride,
        ),
        model=model,
    )


def _artifact(path: Path, titles: dict[str, str], variants: Mapping[str, Variant]) -> BenchSubject:
    manifest = read_manifest(path)
    if not manifest.num_classes:
        raise ConfigError(f"{path} has no classifier (num_classes=0); {WITH_CLASSIFIER}")
    network = _title(manifest.variant, str(path), manifest.weights_sha256, titles)
    variant, tensor = variants.get(network) or VARIANTS.get(manifest.variant), manifest.tensor
    return BenchSubject(
        source=str(path),
        network=network,
        input_spec=manifest.input_spec,
        num_classes=manifest.num_classes,
        class_names=manifest.class_names,
        shapes=None
        if variant is None
        else NetworkShapes(
            variant=variant,
            input_size=square_or_sides(tensor.height, tensor.width),
            num_classes=manifest.num_classes,
            in_chans=tensor.channels,
            output_stride=manifest.output_stride,
        ),
        artifact=path,
        manifest=manifest,
    )
