"""Weights that others have published: where, in what form, under what licence, how accurate. No torch."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from typing import Any

from mobileone.checkpoint.hub import HUB_PREFIX, is_on_hub
from mobileone.checkpoint.layouts import LayoutName
from mobileone.input_spec import InputSpec
from mobileone.licences import APPLE_LICENCE, LICENCES
from mobileone.variants import Form

ORIGIN_KEY = "published"
"""Under it what was made of published weights names them, so that their licence can be told."""
BEGAN_KEY = "began_with"
"""Under it what was loaded and saved names them: nobody knows whether it was trained in between."""
LICENCE_KEY = "licence"
"""Under it what was made of others' weights says which of `LICENCES` they keep."""


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """One published checkpoint, trained on ImageNet-1k.

    Attributes:
        name: what `load_model` takes.
        variant: the network.
        source: `hf-hub:owner/name`, or a URL.
        layout: whose tensor names it has.
        form: train or inference form.
        licence: of the weights, as their publisher states it; it is not this package's.
        top1: accuracy in percent that `accuracy_source` states.
        top5: likewise, None where not stated.
        accuracy_source: who says so.
        input_spec: pre-processing behind that accuracy.
        sha256_prefix: start of the file's hash where the publisher put it into the name, else empty.
    """

    name: str
    variant: str
    source: str
    layout: LayoutName
    form: Form
    licence: str
    top1: float
    top5: float | None
    accuracy_source: str
    input_spec: InputSpec = field(default_factory=InputSpec)
    sha256_prefix: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


# variant: top-1, top-5, %. Sources stand beside each table.
# timm results/results-imagenet.csv, 224 px
_TIMM = {
    "s0": (71.398, 89.864),
    "s1": (75.760, 92.788),
    "s2": (77.504, 93.664),
    "s3": (78.002, 93.864),
    "s4": (79.446, 94.490),
}
# README of apple/ml-mobileone
_APPLE = {"s0": 71.4, "s1": 75.9, "s2": 77.4, "s3": 78.1, "s4": 79.4}
# README of jahongir7174/MobileOne
_REFERENCE = {
    "s0": (71.4, 89.9),
    "s1": (75.8, 92.8),
    "s2": (77.4, 93.2),
    "s3": (77.9, 93.9),
    "s4": (79.3, 94.4),
}
# configs/mobileone/metafile.yml of open-mmlab/mmpretrain, with the hash at the end of each file's name
_MMPRETRAIN = {
    "s0": (71.34, 89.87, "0bc94952"),
    "s1": (75.72, 92.54, "ceeef467"),
    "s2": (77.37, 93.34, "9c7ecb97"),
    "s3": (78.06, 93.83, "c95eb3bf"),
    "s4": (79.69, 94.46, "28d888cb"),
}
_APPLE_URL = "https://docs-assets.developer.apple.com/ml-research/datasets/mobileone/mobileone_"
_REFERENCE_URL = "https://github.com/jahongir7174/MobileOne/releases/download/v0.0.1/"
_MMPRETRAIN_URL = "https://download.openmmlab.com/mmclassification/v0/mobileone/mobileone-"


def _timm(size: str) -> PublishedWeights:
    top1, top5 = _TIMM[size]
    return PublishedWeights(
        name=f"mobileone_{size}.apple_in1k",
        variant=f"mobileone_{size}",
        source=f"{HUB_PREFIX}timm/mobileone_{size}.apple_in1k",
        layout="timm",
        form="train",
        licence="mobileone-license (Apple's)",
        top1=top1,
        top5=top5,
        accuracy_source="timm, results-imagenet.csv, 224 px",
        input_spec=InputSpec(crop=0.875 if size == "s0" else 0.9),
    )


def _apple(size: str, form: Form) -> PublishedWeights:
    unfused = "_unfused" if form == "train" else ""
    return PublishedWeights(
        name=f"mobileone_{size}.apple{unfused}",
        variant=f"mobileone_{size}",
        source=f"{_APPLE_URL}{size}{unfused}.pth.tar",
        layout="apple",
        form=form,
        licence=APPLE_LICENCE,
        top1=_APPLE[size],
        top5=None,
        accuracy_source="README of apple/ml-mobileone",
    )


def _reference(size: str) -> PublishedWeights:
    top1, top5 = _REFERENCE[size]
    return PublishedWeights(
        name=f"mobileone_{size}.reference",
        variant=f"mobileone_{size}",
        source=f"{_REFERENCE_URL}{size}.pt",
        layout="reference",
        form="train",
        licence="none stated (from Apple's)",
        top1=top1,
        top5=top5,
        accuracy_source="README of jahongir7174/MobileOne, weights ported from Apple's",
    )


def _mmpretrain(size: str) -> PublishedWeights:
    top1, top5, digest = _MMPRETRAIN[size]
    return PublishedWeights(
        name=f"mobileone_{size}.mmpretrain",
        variant=f"mobileone_{size}",
        source=f"{_MMPRETRAIN_URL}{size}_8xb32_in1k_20221110-{digest}.pth",
        layout="mmpretrain",
        form="train",
        licence="Apache-2.0",
        top1=top1,
        top5=top5,
        accuracy_source="metafile.yml of open-mmlab/mmpretrain",
        sha256_prefix=digest,
    )


PUBLISHED: dict[str, PublishedWeights] = {
    weights.name: weights
    for size in _APPLE
    for weights in (
        _timm(size),
        _apple(size, "inference"),
        _apple(size, "train"),
        _mmpretrain(size),
        _reference(size),
    )
}


def published_at(address: str) -> PublishedWeights | None:
    """The published weights of that name, or at that place on the hub.

    >>> published_at("hf:timm/mobileone_s0.apple_in1k").name
    'mobileone_s0.apple_in1k'
    """
    if address in PUBLISHED or not is_on_hub(address):
        return PUBLISHED.get(address)
    place = address.partition(":")[2].partition("@")[0]
    return next((each for each in PUBLISHED.values() if each.source.partition(":")[2] == place), None)


def began_with(source: str, metadata: Mapping[str, Any]) -> PublishedWeights | None:
    """The published weights that a model is or began with, as its place and its metadata tell."""
    named = [name for key in (ORIGIN_KEY, BEGAN_KEY) if isinstance(name := metadata.get(key), str)]
    known = [published_at(source), *(PUBLISHED.get(name) for name in named)]
    return next((weights for weights in known if weights is not None), None)


def stated_licence(metadata: Mapping[str, Any]) -> str | None:
    """Which of `LICENCES` the writer of a model says that its weights keep; None where nothing is said."""
    said = metadata.get(LICENCE_KEY)
    return said if isinstance(said, str) and said in LICENCES else None


def licence_of(source: str, layout: str, metadata: Mapping[str, Any]) -> str | None:
    """Which of `LICENCES` weights are under; None where nothing tells that they began with others'.

    Args:
        source: where they were found.
        layout: whose tensor names they have.
        metadata: what their writer added.

    >>> licence_of("best.safetensors", "timm", {"published": "mobileone_s0.mmpretrain"})
    'apache-2.0'
    """
    if (said := stated_licence(metadata)) is not None:
        return said
    weights = began_with(source, metadata)
    if weights is not None:  # all others are Apple's, or were taken over from there
        return "apache-2.0" if weights.licence == "Apache-2.0" else "apple"
    return "apple" if layout == "apple" else None


def licence_text(name: str) -> str:
    """The wording of a licence that others' weights or programs come under: one of `LICENCES`."""
    folder = resources.files("mobileone.checkpoint") / "licences"
    return (folder / f"{name}.txt").read_text(encoding="utf-8")


def list_weights(pattern: str = "*") -> list[str]:
    """Names of published weights, filtered by a shell pattern.

    >>> list_weights("mobileone_s0.apple*")
    ['mobileone_s0.apple_in1k', 'mobileone_s0.apple', 'mobileone_s0.apple_unfused']
    """
    return fnmatch.filter(PUBLISHED, pattern)
