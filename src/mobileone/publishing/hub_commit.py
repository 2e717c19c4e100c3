"""One commit to a repository on the hub, which takes the place of nothing but what was pushed from here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobileone.atomic import atomic_path
from mobileone.errors import PublishError
from mobileone.outside_text import json_text, printable
from mobileone.publishing.hub_repository import NEW_REPOSITORY_FILES, HubRepository, Standing
from mobileone.regular_file import read_json

RECORD_NAME = "pushed.json"
"""In a run's folder: commit and files that were last pushed from it, by repository and branch."""


def commit_folder(
    repository: HubRepository,
    folder: Path,
    sizes: Mapping[str, int],
    *,
    run_dir: Path | None,
    private: bool,
    parent: str | None,
    message: str,
) -> str:
    """Push what lies in a folder, if that replaces nothing of anybody else's; the commit.

    Args:
        repository: where to; made if it is not there.
        folder: what to push.
        sizes: of its files, by their path in it.
        run_dir: of the run, which keeps what was pushed from it; None where there is none.
        private: whether the repository is to be one.
        parent: the commit that may be replaced, whoever made it.
        message: of the commit.

    Raises:
        PublishError: if it would replace somebody else's, or the hub refuses.
        MobileOneError: if the record cannot be written.
    """
    record = None if run_dir is None else run_dir / RECORD_NAME
    noted = _noted(record, repository)
    before = repository.standing()
    _check_standing(repository, before, sizes, noted=noted, parent=parent, private=private)
    created = before.head is None
    if created:
        repository.create(private=private)
    if repository.revision is not None and not before.has_revision:
        repository.create_revision()
    now = repository.standing() if created or not before.has_revision else before
    ours = (
        set(noted.get("files", ())) if before.has_revision and before.head == noted.get("commit") else set()
    )
    try:
        commit = repository.commit(
            folder,
            delete=sorted((ours & now.files) - set(sizes)),
            parent=now.head,
            message=message,
        )
    except PublishError as error:
        if created:
            raise PublishError(f"{error}; the new repository {repository.url} is there, and empty") from error
        raise
    if record is not None:
        _note(record, repository, commit, sizes)
    return commit


def _check_standing(
    repository: HubRepository,
    before: Standing,
    sizes: Mapping[str, int],
    *,
    noted: Mapping[str, Any],
    parent: str | None,
    private: bool,
) -> None:
    name = f"hf:{repository.repo_id}"
    if parent is not None and parent != before.head:
        stands = "is not there" if before.head is None else f"stands at {before.head}"
        raise PublishError(
            f"{name} {stands}, not at the commit {parent:.40} that is to be replaced; look again"
        )
    if before.head is not None and private and not before.is_private:
        raise PublishError(f"{name} is there and public; change that in its settings, or leave private out")
    if before.head in (None, parent, noted.get("commit")) or not before.has_revision:
        return
    would_go = sorted((before.files - NEW_REPOSITORY_FILES) & set(sizes))
    if would_go:
        raise PublishError(
            f"{name} holds {printable(would_go[0])} of the commit {before.head}, which was not pushed from "
            f"here; look at it, then replace it by parent={before.head}, or push to another name"
        )


def _noted(record: Path | None, repository: HubRepository) -> Mapping[str, Any]:
    """What was last pushed there from this run; empty for the first time."""
    if record is None:
        return {}
    try:
        found = read_json(record)[_key(repository)]
        return {"commit": str(found["commit"]), "files": [str(name) for name in found["files"]]}
    except (OSError, ValueError, LookupError, TypeError):
        return {}  # then the hub's files are somebody else's until told otherwise


def _note(record: Path, repository: HubRepository, commit: str, sizes: Mapping[str, int]) -> None:
    try:
        known = dict(read_json(record))
    except (OSError, ValueError, TypeError):
        known = {}
    known[_key(repository)] = {"commit": commit, "files": sorted(sizes)}
    with atomic_path(record) as temporary:
        temporary.write_text(json_text(known, indent=2) + "\n", encoding="utf-8")


def _key(repository: HubRepository) -> str:
    return f"{repository.url}@{repository.revision or 'main'}"
