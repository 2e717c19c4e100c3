"""What is known of a model beside its weights: its run, its figures, whose weights it began with."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from mobileone.checkpoint.inspect import ModelCard
from mobileone.checkpoint.published import ORIGIN_KEY, PublishedWeights, began_with, published_at
from mobileone.data.fingerprint import Fingerprint
from mobileone.data.hub_address import hub_place, is_hub_data, parse_hub_address
from mobileone.errors import ConfigError, TrainingError
from mobileone.evaluation.metric_names import METRICS
from mobileone.input_spec import size_text
from mobileone.outside_text import printable
from mobileone.regular_file import read_json
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.run_dir import RunDir

WEIGHTS = ("best", "last")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a model comes from, as far as its files tell.

    Attributes:
        run_dir: of the run that trained it; None where there is none.
        config: of that run.
        environment: of that run: versions, ranks.
        figures: of the validation images, by name, percent.
        dataset: what the figures were measured on, for people; None where unknown.
        protocol: how they were measured, in a line; empty without figures.
        fingerprint: number and hash of the run's images by use, in a line each.
        published: the weights that it is, or began with; None where there are none that are known.
        is_published: whether it is them, and not trained further.
    """

    run_dir: Path | None = None
    config: TrainConfig | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    dataset: str | None = None
    protocol: str = ""
    fingerprint: tuple[str, ...] = ()
    published: PublishedWeights | None = None
    is_published: bool = False


def trace(source: str | os.PathLike[str], card: ModelCard) -> Provenance:
    """What the files of a model, and those of the run about it, say.

    Args:
        source: as `load_model` takes it.
        card: of that model.

    Raises:
        TrainingError: if the run's own files are damaged.
    """
    address = os.fspath(source)
    published = began_with(address, card.metadata)
    unchanged = published_at(address) is not None or ORIGIN_KEY in card.metadata
    if published is not None and unchanged and not _trained_figures(card):
        return _of_published(published)
    files = None if card.path is None else run_about(Path(card.path))
    if files is None:
        figures = _trained_figures(card)
        return Provenance(
            figures=figures, protocol=_protocol(card, None) if figures else "", published=published
        )
    config, figures = files.stored_config(), _trained_figures(card)
    return Provenance(
        run_dir=files.path,
        config=config,
        environment=files.read_environment(),
        figures=figures,
        dataset=data_title(config.val_data or config.data),
        protocol=_protocol(card, config) if figures else "",
        fingerprint=_fingerprints(files.images),
        published=published or published_at(config.init or ""),
    )


def run_about(weights: Path) -> RunDir | None:
    """The run whose best or last weights a file is; None for any other file."""
    if weights.stem not in WEIGHTS:
        return None
    files = RunDir(weights.parent, weights.suffix)
    try:
        is_run = files.config.is_file() and "environment" in read_json(files.config)
    except (OSError, ValueError, TypeError):
        return None
    return files if is_run else None


def data_title(address: str) -> str:
    """A data set's name for strangers: nothing of the folders above it, nor of who may fetch it.

    >>> data_title("/home/me/photos/clothes/"), data_title("https://me:secret@host/a/clothes-{0..9}.tar?key=1")
    ('clothes', 'clothes-{0..9}.tar')
    """
    if (place := hub_place(address)) is not None:
        return place
    address = parse_hub_address(address).place if is_hub_data(address) else address
    last = [part for part in re.split(r"[/\\]", address.partition("?")[0]) if part not in ("", ".", "..")]
    return printable(last[-1]) if last else "data"


def _of_published(weights: PublishedWeights) -> Provenance:
    figures = {"acc1": weights.top1} | ({} if weights.top5 is None else {"acc5": weights.top5})
    return Provenance(
        figures=figures,
        dataset="imagenet-1k",
        protocol=f"as {weights.accuracy_source} states",
        published=weights,
        is_published=True,
    )


def _trained_figures(card: ModelCard) -> dict[str, float]:
    known = METRICS[card.task]
    found = {name: card.metadata.get(name) for name in known}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def _protocol(card: ModelCard, config: TrainConfig | None) -> str:
    spec, said = card.input_spec, card.metadata
    count, precision = said.get("num_images"), said.get("precision")
    parts = [f"{count:,} images" if isinstance(count, int) else "number of images not recorded"]
    parts += [f"{size_text(spec.size)} px", spec.view]
    parts += [str(precision)[:20] if precision else "precision not recorded"]
    if config is not None:
        averages = config.optim.ema_decay > 0 and not config.probe.is_all
        parts.append("averaged weights, fused" if averages else "fused")
    if isinstance(said.get("epoch"), int):
        parts.append(f"after epoch {said['epoch']}")
    return ", ".join(parts)


def _fingerprints(path: Path) -> tuple[str, ...]:
    """Number of images and one hash over the classes' own, for each use; nothing where a run has no note."""
    try:
        noted = {str(use): Fingerprint.from_dict(each) for use, each in read_json(path).items()}
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, AttributeError, TypeError, ConfigError) as error:
        raise TrainingError(f"{path} is damaged ({' '.join(str(error).split())[:200]})") from error
    lines = []
    for use, each in noted.items():
        digest = sha256("\n".join(each.hashes.values()).encode()).hexdigest()[:16]
        lines.append(
            f"{printable(use)}: {sum(each.counts.values()):,} labels in {len(each.counts)} classes, {digest}"
        )
    return tuple(lines)
