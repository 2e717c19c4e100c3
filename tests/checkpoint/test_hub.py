"""`hf-hub:` against a server in this process that speaks as much of the hub's API as its library asks for.

The library reads its environment when it is imported, so it runs in processes of its own.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from mobileone.checkpoint.store import save_model

SCRIPT = """
import json, sys
from mobileone.checkpoint.inspect import describe
from mobileone.errors import DownloadError
for source in sys.argv[1:]:
    try:
        card = describe(source)
        said = [card.variant.name, card.form, card.class_names, card.input_spec.crop, card.container]
        print(json.dumps(said))
    except DownloadError as error:
        print(json.dumps(str(error)))
assert "torch" not in sys.modules
"""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        self.server.requests.append((self.command, self.path))
        repo, _, rest = self.path.removeprefix("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        files = self.server.repos.get(repo)
        error = None
        if repo == "someone/gated":
            error = "GatedRepo"
        elif files is None:
            error = "RepoNotFound"
        elif revision not in ("main", "v1", "c" * 40):
            error = "RevisionNotFound"
        elif name not in files:
            error = "EntryNotFound"
        if error:
            self.send_response(403 if error == "GatedRepo" else 404)
            self.send_header("X-Error-Code", error)
            self.send_header("X-Error-Message", error)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = files[name]
        self.send_response(200)
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path, fused):
    save_model(fused, tmp_path / "repo")
    files = {path.name: path.read_bytes() for path in (tmp_path / "repo").iterdir()}
    torch.save(fused.state_dict(), tmp_path / "pytorch_model.bin")
    timm_config = {"architecture": "mobileone_s0", "pretrained_cfg": {"crop_pct": 0.9}}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    server.repos = {
        "someone/tiny": files,
        "someone/old": {
            "pytorch_model.bin": (tmp_path / "pytorch_model.bin").read_bytes(),
            "config.json": json.dumps(timm_config).encode(),
        },
        "someone/bare": {"model.safetensors": files["model.safetensors"]},
        "someone/nothing": {"README.md": b"#"},
    }
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(hub, tmp_path, *sources, **environment):
    env = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "no_proxy": "*",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *sources],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_repositories_of_every_kind_then_offline(hub, tmp_path):
    sources = ["hf-hub:someone/tiny", "hf-hub:someone/tiny@v1", "hf-hub:someone/old", "hf-hub:someone/bare"]
    answers = ask(hub, tmp_path, *sources)
    tiny = ["tiny", "inference", list("abcde"), 0.875, "safetensors"]
    assert answers == [tiny, tiny, ["custom", "inference", None, 0.9, "torch zip"], tiny]
    asked = [path for command, path in hub.requests if command == "GET" and path.endswith("safetensors")]
    assert len(asked) == 2  # tiny once for both revisions, bare once
    hub.requests.clear()
    assert ask(hub, tmp_path, *sources[:3], "hf-hub:someone/else", HF_HUB_OFFLINE="1") == [
        *answers[:3],
        "hf-hub:someone/else has no model.safetensors or pytorch_model.bin, or the hub is out of reach",
    ]
    assert hub.requests == []


def test_what_the_hub_does_not_give(hub, tmp_path):
    missing, gated, revision, nothing, malformed = ask(
        hub,
        tmp_path,
        "hf-hub:someone/missing",
        "hf-hub:someone/gated",
        "hf-hub:someone/tiny@nope",
        "hf-hub:someone/nothing",
        "hf-hub:a/b/c",
    )
    for message, expected in [
        (missing, "cannot fetch config.json of hf-hub:someone/missing: no such repository"),
        (gated, "someone/gated: it is gated"),
        (revision, "someone/tiny: no branch, tag or commit 'nope'"),
        (nothing, "has no model.safetensors or pytorch_model.bin"),
        (malformed, "a/b/c"),
    ]:
        assert expected in message
        assert "\n" not in message
