"""Where a decision is kept: in a checkpoint, a run's best weights, the manifest beside an exported file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from mobileone.atomic import atomic_path, refuse_existing, staging
from mobileone.backends.c.decision_block import decided_code
from mobileone.backends.manifest import manifest_path, read_manifest, record_files
from mobileone.backends.table import backend_of
from mobileone.backends.trusted_programs import note_written, require_trust
from mobileone.checkpoint.contents import open_contents
from mobileone.checkpoint.hub import CONFIG_NAME, is_on_hub
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.published import PUBLISHED
from mobileone.checkpoint.resolve import resolve
from mobileone.checkpoint.store import WEIGHTS_NAME, save_model
from mobileone.decision import Decision
from mobileone.errors import ConfigError


def store_decision(
    source: str | os.PathLike[str],
    decision: Decision | None,
    *,
    output: str | os.PathLike[str] | None = None,
    weights_key: str | None = None,
    force: bool = False,
) -> Path:
    """Keep a decision with the model that it was fitted for; None takes one away.

    Args:
        source: an exported file, whose manifest is written anew (and the C code of format `c`); a checkpoint
            file of ours, or a run folder, whose best weights' file is; or anything that `load_model` takes,
            with `output`.
        decision: of `calibrate`.
        output: a file for the model with the decision, which leaves `source` as it is.
        weights_key: of a file that has several weights, with `output`.
        force: replace what is at `output`.

    Returns:
        The file with the decision: the manifest, or the checkpoint.

    Raises:
        ConfigError: if the source is no file of ours and there is no output, or the decision does not fit.
        ArtifactError, CheckpointError: if it cannot be read.
        MobileOneError: if it cannot be written; it is as it was then.
    """
    if backend_of(source) is not None:
        if output is not None:
            raise ConfigError(f"{source} is an exported file, which keeps its decision beside it; no output")
        return _into_manifest(Path(source), decision)
    target = _own_file(source, weights_key) if output is None else Path(output)
    if output is not None:
        refuse_existing(target, force=force)
    card = describe(source, weights_key=weights_key)
    model = load_model(source, dtype=None, weights_key=weights_key)
    model.decision = decision
    return save_model(model, target, extra=card.metadata)


def check_target(
    source: str | os.PathLike[str], output: str | os.PathLike[str] | None, *, force: bool = False
) -> None:
    """What `store_decision` would refuse, before any work.

    Raises:
        ConfigError: then.
    """
    if backend_of(source) is None and output is None:
        _own_file(source, None)
    elif backend_of(source) is not None and output is not None:
        raise ConfigError(f"{source} is an exported file, which keeps its decision beside it; no output")
    elif output is not None:
        refuse_existing(Path(output), force=force)


def _own_file(source: str | os.PathLike[str], weights_key: str | None) -> Path:
    """The checkpoint of ours that is written anew: a file, or a folder of weights and config.json."""
    text = os.fspath(source)
    path = None if text in PUBLISHED or is_on_hub(text) else resolve(source).path
    if path is None or weights_key is not None or open_contents(path).config.variant is None:
        raise ConfigError(
            f"{text} is no single file of ours to keep a decision in; give output, a file to write"
        )
    if path.name == WEIGHTS_NAME and (path.parent / CONFIG_NAME).is_file():
        return path.parent
    return path


def _into_manifest(path: Path, decision: Decision | None) -> Path:
    manifest = read_manifest(path)
    if not manifest.num_classes:
        raise ConfigError(f"{path} gives no logits, so there is nothing to decide")
    if decision is not None:
        decision.check(manifest.num_classes)
    beside, manifest = manifest_path(path), replace(manifest, decision=decision)
    if manifest.format != "c":
        with atomic_path(beside) as temporary:
            manifest.write(temporary)
        return beside
    require_trust(path, manifest)  # what is written here counts as one's own
    with staging(path) as folder:
        written = folder / path.name
        written.write_text(decided_code(path.read_text(encoding="utf-8"), decision), encoding="utf-8")
        (code,) = record_files(written, [written])
        files = tuple(code if each.name == path.name else each for each in manifest.files)
        manifest = replace(manifest, files=files)
        note_written(manifest)
        manifest.write(folder / beside.name)
    return beside
