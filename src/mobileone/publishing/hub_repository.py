"""A repository on the Hugging Face hub: how it stands, a commit to it. The hub's own library talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileone.errors import PublishError

TRANSPORTS = ("httpx", "httpcore", "requests", "urllib3")
"""What the hub's library has gone over, now and in its earlier versions."""
NEW_REPOSITORY_FILES = frozenset({".gitattributes"})
"""What the hub itself puts into a repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a repository stands before a push.

    Attributes:
        head: the commit to build on; None if the repository is not there.
        files: in that commit.
        is_private: whether strangers cannot see it.
        has_revision: whether the branch is there.
    """

    head: str | None
    files: frozenset[str]
    is_private: bool
    has_revision: bool


class HubRepository:
    """One repository of models.

    Args:
        repo_id: `owner/name`.
        revision: a branch; None is the main one.

    Raises:
        PublishError: if there is no token.
    """

    def __init__(self, repo_id: str, revision: str | None = None) -> None:
        from huggingface_hub import HfApi, get_token

        self._token = get_token()
        if not self._token:
            raise PublishError(
                "the hub takes no models without a token; run `hf auth login`, or set HF_TOKEN to one that "
                "may write"
            )
        self.repo_id, self.revision = repo_id, revision
        self._api: Any = HfApi(token=self._token)

    @property
    def url(self) -> str:
        """Where people look at it."""
        return f"{self._api.endpoint}/{self.repo_id}"

    def standing(self) -> Standing:
        """How it is now.

        Raises:
            PublishError: if the hub does not say.
        """
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        has_revision = True
        with self._explained("look at"):
            try:
                info = self._api.repo_info(self.repo_id, revision=self.revision)
            except RevisionNotFoundError:
                info, has_revision = self._api.repo_info(self.repo_id), False
            except RepositoryNotFoundError as error:
                # To who may not see it, a repository is not there; a wrong token is told apart by its code.
                if isinstance(error, GatedRepoError) or _status(error) == 401:
                    raise
                return Standing(head=None, files=frozenset(), is_private=False, has_revision=False)
        files = frozenset(sibling.rfilename for sibling in info.siblings or ())
        return Standing(head=info.sha, files=files, is_private=bool(info.private), has_revision=has_revision)

    def create(self, *, private: bool) -> None:
        """Make it.

        Raises:
            PublishError: if the hub refuses.
        """
        taken = "it is there already, and the token may not see it; take another name"
        with self._explained("create", conflict=taken):
            self._api.create_repo(self.repo_id, private=private)

    def create_revision(self) -> None:
        """Make the branch, from the main one.

        Raises:
            PublishError: if the hub refuses.
        """
        with self._explained(f"create the branch {self.revision} of"):
            self._api.create_branch(self.repo_id, branch=self.revision)

    def commit(self, folder: Path, *, delete: Sequence[str], parent: str | None, message: str) -> str:
        """Put every file of a folder there in one commit; its id.

        Args:
            folder: with the files, by their path in it.
            delete: files that go.
            parent: the commit that this one replaces; another meanwhile is refused by the hub.
            message: a line.

        Raises:
            PublishError: if the hub refuses, or another commit came in between.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations = [
            CommitOperationAdd(path_in_repo=path.relative_to(folder).as_posix(), path_or_fileobj=str(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        gone = [CommitOperationDelete(path_in_repo=name) for name in delete]
        with self._explained("push to"):
            done = self._api.create_commit(
                self.repo_id,
                [*operations, *gone],
                commit_message=message,
                revision=self.revision,
                parent_commit=parent,
            )
        return str(done.oid)

    @contextmanager
    def _explained(self, doing: str, *, conflict: str | None = None) -> Iterator[None]:
        """Whatever the library raises as a line that says what to do, and never holds the token."""
        try:
            yield
        except PublishError:
            raise
        except (
            Exception
        ) as error:  # the hub's answers, its transports' and its storage's own, of no common base
            said = f"cannot {doing} hf:{self.repo_id}: {_reason(error, conflict=conflict)}"
            raise PublishError(said.replace(self._token or "\0", "…")) from error


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _reason(error: BaseException, *, conflict: str | None) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    links, link = [error], error
    while (link := link.__cause__ or link.__context__) is not None and link not in links:  # type: ignore[assignment]
        links.append(link)
    if any(isinstance(each, OfflineModeIsEnabled) for each in links):
        return "HF_HUB_OFFLINE is set; unset it to push"
    code = next((code for each in links if (code := _status(each)) is not None), None)
    if code is None:
        first = " ".join(str(links[-1]).split())[:200] or type(links[-1]).__name__
        if any(isinstance(each, OSError) or type(each).__module__.startswith(TRANSPORTS) for each in links):
            return f"the hub is out of reach ({first}); check the network and HF_ENDPOINT, then push again"
        return f"its library gave up: {first}"
    explain: dict[int, Callable[[], str]] = {
        400: lambda: f"the hub does not take it: {_said(links)}",
        401: lambda: "the hub does not know the token; run `hf auth login`, or set HF_TOKEN to another",
        403: lambda: (
            "the token may not write there; take one that may write, of somebody who belongs to the owner"
        ),
        404: lambda: "no such owner or repository, or the token may not see it",
        409: lambda: conflict or "somebody else changed it meanwhile; look at what is there, then push again",
        412: lambda: "somebody else pushed meanwhile; look at what is there, then push again",
        413: lambda: "a file is too large for the hub",
        429: lambda: "too many requests; wait some minutes, then push again",
    }
    if code in explain:
        return f"{explain[code]()} ({code})"
    if code >= 500:
        return f"the hub has trouble of its own ({code}); push again later"
    return f"the hub answers {code}: {_said(links)}"


def _said(links: Sequence[BaseException]) -> str:
    error = next(each for each in links if _status(each) is not None)
    return " ".join(str(getattr(error, "server_message", None) or error).split())[:200]
