"""A hub in this process: as much of the Hugging Face hub's API as its library asks for, in memory.

Repositories of models and data sets (`datasets/owner/name`), branches and commits that build on one another,
large files on their own way, tokens that may write and tokens that may not, and refusals on demand.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

WRITE_TOKEN, READ_TOKEN = "hf_writesecret", "hf_readsecret"
LARGE = (".safetensors", ".bin", ".onnx")


class Refusal(Exception):  # noqa: N818, it is an answer
    def __init__(self, status: int, code: str = "", message: str = "", commit: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.commit = status, code, message or code, commit


@dataclass
class Repository:
    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    log: list[tuple[str, str | None, str]] = field(default_factory=list)  # commit, parent, message

    def commit(self, branch: str, files: Mapping[str, bytes], message: str) -> str:
        parent = self.branches.get(branch)
        sha = hashlib.sha1(repr((len(self.log), branch, sorted(files), message)).encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.branches[branch] = sha
        self.log.append((sha, parent, message))
        return sha

    def find(self, revision: str) -> str:
        if (sha := self.branches.get(revision, revision)) not in self.commits:
            raise Refusal(404, "RevisionNotFound")
        return sha


class LocalHub(ThreadingHTTPServer):
    """Its state is open to tests.

    Attributes:
        repos: by name.
        requests: method and path of everything that was asked.
        refuse: status to answer with, by a part of the path.
        sent: name and number of bytes of what was given of files.
        meanwhile: called right before a commit is looked at, as somebody else's push would come.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuse: dict[str, int] = {}
        self.large: dict[str, bytes] = {}
        self.sent: list[tuple[str, int]] = []
        self.meanwhile = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, name: str, files: Mapping[str, bytes], *, private: bool = False) -> str:
        """A repository, or a commit of somebody else's to one."""
        return self.repos.setdefault(name, Repository(private)).commit("main", files, "by somebody")

    def files(self, name: str, branch: str = "main") -> dict[str, bytes]:
        repository = self.repos[name]
        return repository.commits[repository.branches[branch]]


@contextmanager
def serving() -> Iterator[LocalHub]:
    """A hub that answers until the end of the block."""
    hub = LocalHub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: LocalHub

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            for part, status in self.server.refuse.items():
                if part in f"{self.command} {path}":
                    raise Refusal(status, message="no")
            if path.startswith("/api/"):
                self._json(self._api(path.removeprefix("/api/")))
            elif path.endswith("/info/lfs/objects/batch"):
                self._json(self._batch())
            elif path.startswith("/large/"):
                self.server.large[path.removeprefix("/large/")] = self.body
                self._json({})
            else:
                self._file(path)
        except Refusal as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            headers["X-Repo-Commit"] = refusal.commit
            self._send(refusal.status, b"", {name: value for name, value in headers.items() if value})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _repository(self, name: str) -> Repository:
        if name.removeprefix("datasets/") == "someone/gated":
            raise Refusal(403, "GatedRepo")
        found = self.server.repos.get(name)
        if found is None or (found.private and self._token() is None):
            raise Refusal(404, "RepoNotFound")
        return found

    def _token(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        if token not in (None, WRITE_TOKEN, READ_TOKEN):
            raise Refusal(401, message=f"Invalid credentials in {token}")
        return token

    def _require_writer(self) -> None:
        if self._token() != WRITE_TOKEN:
            raise Refusal(403 if self._token() else 401, message="You may not write")

    def _file(self, path: str) -> None:
        name, _, rest = path.removeprefix("/").partition("/resolve/")
        repository = self._repository(name)
        revision, _, file = rest.partition("/")
        sha = repository.find(revision)
        content = repository.commits[sha].get(file)
        if content is None:
            raise Refusal(404, "EntryNotFound", commit=sha)
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        headers = {"X-Repo-Commit": sha, "ETag": etag, "Accept-Ranges": "bytes"}
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = content[int(first) : int(last) + 1]
            self.server.sent.append((file, len(part)))
            self._send(206, part, headers)
            return
        self.server.sent.append((file, len(content)))
        self._send(200, content, headers)

    def _api(self, path: str) -> object:
        if path == "validate-yaml":
            return {"errors": [], "warnings": []}
        if path == "repos/create":
            return self._create(json.loads(self.body))
        kind, owner, name, rest = [*path.split("/", 3), "", "", ""][:4]
        name = f"{owner}/{name}" if kind == "models" else f"{kind}/{owner}/{name}"
        repository = self._repository(name)
        doing, _, revision = rest.partition("/")
        if doing in ("", "revision"):
            self._token()
            sha = repository.find(revision or "main")
            siblings = [{"rfilename": file} for file in repository.commits[sha]]
            return {"id": name, "sha": sha, "private": repository.private, "siblings": siblings}
        if doing in ("tree", "paths-info"):
            revision, _, folder = revision.partition("/")
            return self._listed(repository.commits[repository.find(revision)], doing, folder)
        self._require_writer()
        if doing == "branch":
            start = json.loads(self.body).get("startingPoint") or "main"
            repository.branches[revision] = repository.find(start)
            return {}
        if doing == "preupload":
            repository.find(revision)
            modes = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for each in json.loads(self.body)["files"]
            ]
            return {"files": modes}
        assert doing == "commit", path
        return self._commit(name, repository, revision)

    def _listed(self, files: Mapping[str, bytes], doing: str, folder: str) -> object:
        """Files, as far as they are asked for; none lies in a folder."""
        if folder:
            raise Refusal(404, "EntryNotFound")
        wanted = files if doing == "tree" else parse_qs(self.body.decode())["paths"]
        return [
            {
                "type": "file",
                "path": path,
                "size": len(files[path]),
                "oid": hashlib.sha1(files[path]).hexdigest(),
            }
            for path in wanted
            if path in files
        ]

    def _create(self, asked: dict) -> object:
        self._require_writer()
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.server.repos:
            raise Refusal(409, message="You already created this model repo")
        made = self.server.repos[name] = Repository(private=asked.get("visibility") == "private")
        made.commit("main", {".gitattributes": b"*.safetensors filter=lfs"}, "initial commit")
        return {"url": f"{self.server.url}/{name}"}

    def _batch(self) -> object:
        self._require_writer()
        objects = []
        for each in json.loads(self.body)["objects"]:
            known = each["oid"] in self.server.large
            upload = {"upload": {"href": f"{self.server.url}/large/{each['oid']}"}}
            objects.append(each | ({} if known else {"actions": upload}))
        return {"transfer": "basic", "objects": objects}

    def _commit(self, name: str, repository: Repository, branch: str) -> object:
        self.server.meanwhile()
        if branch not in repository.branches:
            raise Refusal(404, "RevisionNotFound")
        files = dict(repository.commits[repository.branches[branch]])
        message = ""
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
                if value.get("parentCommit") not in (None, repository.branches[branch]):
                    raise Refusal(412, message="A commit has happened since. Please refresh and try again.")
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                content = self.server.large[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                files[value["path"]] = content
            else:
                assert item["key"] == "deletedFile"
                del files[value["path"]]
        sha = repository.commit(branch, files, message)
        return {"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha}
