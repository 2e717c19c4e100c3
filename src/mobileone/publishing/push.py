"""A model to the Hugging Face hub: everything is made and checked here first, then goes up in one commit."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mobileone.backends.table import backend_of
from mobileone.checkpoint.hub import is_on_hub, split_address
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model, load_with_card
from mobileone.checkpoint.store import CONFIG_NAME, WEIGHTS_NAME, save_model
from mobileone.data.hub_address import hub_place
from mobileone.errors import ConfigError, MobileOneError, PublishError
from mobileone.exporting.pipeline import weights_sha256
from mobileone.model.network import MobileOne
from mobileone.outside_text import printable
from mobileone.publishing.exported_files import ExportedFile, check_exported, copy_exported, exported_in
from mobileone.publishing.hub_commit import commit_folder
from mobileone.publishing.hub_repository import HubRepository
from mobileone.publishing.license_terms import LicenseTerms, settle_license
from mobileone.publishing.model_card_text import CardFacts, write_card
from mobileone.publishing.provenance import Provenance, trace
from mobileone.variants import VARIANTS, Form

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
CARD_NAME, LICENSE_NAME = "README.md", "LICENSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push came to.

    Attributes:
        repo_id: `owner/name`.
        revision: the branch; None is the main one.
        url: of the repository; None if it was not pushed but written into a folder.
        commit: likewise.
        folder: where it was written; None if it was pushed.
        files: name and size in bytes of every file.
        license: that it goes out under, as the hub names it.
    """

    repo_id: str
    revision: str | None
    url: str | None
    commit: str | None
    folder: Path | None
    files: Mapping[str, int]
    license: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"folder": None if self.folder is None else str(self.folder)}


def push(
    model: str | os.PathLike[str],
    to: str,
    *,
    private: bool = False,
    revision: str | None = None,
    license: str | None = None,
    datasets: Sequence[str] = (),
    files: Sequence[str | os.PathLike[str]] = (),
    form: Form | None = None,
    weights_key: str | None = None,
    parent: str | None = None,
    message: str | None = None,
    dry_run: str | os.PathLike[str] | None = None,
) -> Pushed:
    """Put a model on the Hugging Face hub: weights, config.json, a card, exported files, in one commit.

    The card has the figures of the run with their protocol, how it was trained, its calibration, and its
    licence: published weights, and what was trained from them, keep theirs. Of a run folder the exported
    files in it go along, with their manifests. Everything is made and checked before the hub is asked;
    `load_model(to)` gives the same network again.

    What is there is replaced only if this run pushed it, and nobody has pushed since: a run folder keeps the
    commit in pushed.json.

    Args:
        model: a run folder, or anything else that `load_model` takes and that has weights.
        to: `hf:owner/name`, with `@branch` behind it or not.
        private: make the repository a private one, where there is none yet.
        revision: the branch; made where there is none. None is the main one.
        license: the hub's identifier (`mit`, `cc-by-4.0`, …); None takes that of the weights it is
            made from.
        datasets: the hub's names of what it was trained on, for its search; none takes that of the run.
        files: exported files that go along.
        form: None keeps the model's; timm opens the train form alone.
        weights_key: which weights of the model, as of `load_model`.
        parent: the commit that is to be replaced, whoever made it.
        message: of the commit.
        dry_run: a folder to write everything into instead; it must not exist, or be empty.

    Raises:
        ConfigError: on an address, a licence or a form that is none, or an option that does not fit.
        CheckpointError: if the model cannot be read.
        ArtifactError: if an exported file is not what its manifest says.
        PublishError: if there is nothing trained, no licence, no token, a file was exported from other
            weights, the repository holds somebody else's commit, or the hub refuses. Nothing is pushed then.
        MobileOneError: if the folder cannot be written.
    """
    repo_id, revision = _target(to, revision)
    repository = None if dry_run is not None else HubRepository(repo_id, revision)
    made = _checked(model, repo_id, form=form, weights_key=weights_key, license=license, files=files)
    with _staged(made, datasets=datasets, dry_run=dry_run) as folder:
        sizes = {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        commit = None
        if repository is not None:
            commit = commit_folder(
                repository,
                folder,
                sizes,
                run_dir=made.origin.run_dir,
                private=private,
                parent=parent,
                message=message or f"{made.model.variant.name} by mobileone",
            )
    return Pushed(
        repo_id=repo_id,
        revision=revision,
        url=None if repository is None else repository.url,
        commit=commit,
        folder=None if dry_run is None else Path(dry_run),
        files=sizes,
        license=made.terms.license_name or made.terms.license,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    repo_id: str
    model: MobileOne
    extra: Mapping[str, Any]
    sha256: str
    origin: Provenance
    terms: LicenseTerms
    exported: tuple[ExportedFile, ...]


def _target(to: str, revision: str | None) -> tuple[str, str | None]:
    if not is_on_hub(to):
        raise ConfigError(f"a model is pushed to hf:owner/name, got {printable(to):.200}")
    repo_id, written = split_address(to)
    if not _REPO_ID.fullmatch(repo_id):
        raise ConfigError(
            "a model is pushed to hf:owner/name, both of letters, digits, - _ and ., "
            f"got {printable(to):.200}"
        )
    if written and revision and written != revision:
        raise ConfigError(f"{to} names the branch {written}, and revision is {revision}; give one of them")
    return repo_id, revision or written


def _checked(
    source: str | os.PathLike[str],
    repo_id: str,
    *,
    form: Form | None,
    weights_key: str | None,
    license: str | None,
    files: Sequence[str | os.PathLike[str]],
) -> _Made:
    """The model and everything about it, held against one another."""
    if os.fspath(source) in VARIANTS:
        raise PublishError(f"{source} has fresh weights; push a model that was trained")
    if backend_of(source) is not None:
        raise ConfigError(
            f"{source} is an exported file; push the model it was made from, and this beside it by files=[…]"
        )
    model, card = load_with_card(source, form=form, dtype=None, weights_key=weights_key)
    origin = trace(source, card)
    terms = settle_license(license, origin, card)
    if terms.text is None:
        model.licence = None  # a guess by the names of the tensors, which their owner has overruled
    beside = [] if origin.run_dir is None else exported_in(origin.run_dir)
    paths = list(dict.fromkeys(Path(each).absolute() for each in (*beside, *files)))
    exported = check_exported(
        paths,
        weights_sha256=weights_sha256(
            load_model(source, form="inference", weights_key=weights_key)  # as export does
        )
        if paths
        else "",
        reserved=(CARD_NAME, LICENSE_NAME, WEIGHTS_NAME, CONFIG_NAME),
    )
    return _Made(
        repo_id=repo_id,
        model=model,
        extra=card.metadata,
        sha256=weights_sha256(model),
        origin=origin,
        terms=terms,
        exported=exported,
    )


@contextmanager
def _staged(
    made: _Made, *, datasets: Sequence[str], dry_run: str | os.PathLike[str] | None
) -> Iterator[Path]:
    """A folder with everything that is pushed; it becomes `dry_run`, or goes."""
    target = None if dry_run is None else Path(dry_run)
    if target is not None and (target.is_file() or (target.is_dir() and any(target.iterdir()))):
        raise ConfigError(f"{target} is not an empty folder; name one that does not exist")
    try:
        if target is not None:
            target.absolute().parent.mkdir(parents=True, exist_ok=True)
        folder = Path(
            tempfile.mkdtemp(prefix=".push-", dir=None if target is None else target.absolute().parent)
        )
    except OSError as error:
        raise MobileOneError(
            f"cannot write {target or 'a temporary folder'}: {error.strerror or error}"
        ) from error
    try:
        _write(made, folder, datasets=datasets)
        yield folder
        if target is not None:
            folder.chmod(0o755)
            folder.replace(target)
    except OSError as error:
        raise MobileOneError(f"cannot write {target or folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(made: _Made, folder: Path, *, datasets: Sequence[str]) -> None:
    save_model(made.model, folder, extra=made.extra)
    if weights_sha256(load_model(folder, dtype=None)) != made.sha256:
        raise PublishError("the weights do not come back as they were written; the disk may be at fault")
    copy_exported(made.exported, folder, source=f"hf:{made.repo_id}")
    if made.terms.text is not None:
        (folder / LICENSE_NAME).write_text(made.terms.text, encoding="utf-8")
    config = made.origin.config
    if not datasets and config is not None and (place := hub_place(config.data)) is not None:
        datasets = [place]
    facts = CardFacts(
        repo_id=made.repo_id,
        card=describe(folder),
        origin=made.origin,
        terms=made.terms,
        datasets=datasets,
        exported=made.exported,
    )
    (folder / CARD_NAME).write_text(write_card(facts), encoding="utf-8")
