"""What MODEL may be: a variant, published weights, the hub, a run folder, a folder, a file. No torch."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field
from pathlib import Path

from mobileone.checkpoint.config import ModelConfig, from_hub
from mobileone.checkpoint.hub import CONFIG_NAME, WEIGHT_NAMES, hub_files, is_on_hub, split_address
from mobileone.checkpoint.published import ORIGIN_KEY, PUBLISHED, PublishedWeights
from mobileone.errors import CheckpointError
from mobileone.limits import JSON_BYTES
from mobileone.regular_file import read_regular
from mobileone.variants import VARIANTS, Variant

RUN_NAMES = ("best.safetensors", "best.pt", "last.safetensors", "last.pt")


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A source, found.

    Attributes:
        source: as it was given.
        variant: of a network with fresh weights; None where there is a file.
        path: the file with the weights, None where there is none.
        config: what stands beside the file: in config.json, or in the table of published weights.
        published: its row in that table.
    """

    source: str
    variant: Variant | None = None
    path: Path | None = None
    config: ModelConfig = field(default_factory=ModelConfig)
    published: PublishedWeights | None = None


def resolve(source: str | os.PathLike[str]) -> Resolved:
    """Find the file behind a source, downloading published weights where they are not cached.

    Names win over files; write `./name` for a file that is called like a variant.

    Raises:
        CheckpointError: if there is nothing of that name, with the nearest known one, or it cannot be read.
        DownloadError: if it is published and cannot be had.

    >>> resolve("mobileone_s0").variant.num_features
    1024
    """
    text = os.fspath(source)
    if text in VARIANTS:
        return Resolved(source=text, variant=VARIANTS[text])
    if text in PUBLISHED:
        return _published(PUBLISHED[text])
    if is_on_hub(text):
        return _hub(text)
    path = Path(source)
    try:
        if path.is_dir():
            return _folder(text, path)
        if path.exists():
            return Resolved(source=text, path=path)
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise CheckpointError(f"cannot read {text}: {error.strerror or error}") from error
    near = difflib.get_close_matches(text, [*VARIANTS, *PUBLISHED], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise CheckpointError(
        f"no model {text}: no file or folder, variant, published weights or hf:owner/name{hint}"
    )


def _published(weights: PublishedWeights) -> Resolved:
    config = ModelConfig(input_spec=weights.input_spec, extra={ORIGIN_KEY: weights.name})
    if is_on_hub(weights.source):
        found = _hub(weights.source)
        path, config = found.path, found.config.filled_from(config)
    else:
        from mobileone.checkpoint.download import fetch  # imports an HTTP client; a local file needs none

        path = fetch(weights.source, name=weights.name, sha256_prefix=weights.sha256_prefix)
    return Resolved(source=weights.name, path=path, config=config, published=weights)


def _hub(text: str) -> Resolved:
    weights, config = hub_files(*split_address(text))
    return Resolved(source=text, path=weights, config=_read_config(config) if config else ModelConfig())


def _folder(text: str, folder: Path) -> Resolved:
    for name in RUN_NAMES:
        if (folder / name).is_file():
            return Resolved(source=text, path=folder / name)
    for name in WEIGHT_NAMES:
        if (folder / name).is_file():
            config = folder / CONFIG_NAME
            beside = _read_config(config) if config.is_file() else ModelConfig()
            return Resolved(source=text, path=folder / name, config=beside)
    raise CheckpointError(
        f"no model in folder {folder}: it has none of {', '.join(RUN_NAMES + WEIGHT_NAMES)}"
    )


def _read_config(path: Path) -> ModelConfig:
    try:
        text = read_regular(path, JSON_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    return from_hub(text, source=path)
