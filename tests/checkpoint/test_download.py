"""Downloads against a server in this process that can cut, change and refuse."""

import gc
import hashlib
import json
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from mobileone.checkpoint import resolve as source_module
from mobileone.checkpoint.download import fetch
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.published import PublishedWeights
from mobileone.errors import DownloadError
from mobileone.model.create import create_model


class Server(ThreadingHTTPServer):
    """One file, and how to serve it; `requests` holds the Range header of every request, None without."""

    content = bytes(range(256)) * 1000
    etag: str | None = '"v1"'
    modified: str | None = None
    cut_after: int | None = None
    ranges = True
    status: int | None = None

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/weights/file.pth?x=1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args):
        pass

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted)
        if server.status:
            self.send_error(server.status)
            return
        start, validator = 0, server.etag or server.modified
        if wanted and server.ranges and self.headers.get("If-Range") == validator:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
            )
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.modified:
            self.send_header("Last-Modified", server.modified)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start : server.cut_after])


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def files(tmp_path):
    return sorted(p.name for p in (tmp_path / "cache" / "w").iterdir())


def test_a_file_is_fetched_once_and_pinned(server, tmp_path, capsys):
    path = fetch(server.url, name="w")
    assert path == tmp_path / "cache" / "w" / "file.pth"
    assert path.read_bytes() == server.content
    pin = json.loads((tmp_path / "cache" / "pins.json").read_text())[server.url]
    assert pin["sha256"] == hashlib.sha256(server.content).hexdigest()
    assert pin["size_bytes"] == len(server.content)
    assert fetch(server.url, name="w") == path
    assert len(server.requests) == 1
    assert files(tmp_path) == ["file.pth"]
    assert capsys.readouterr().out == ""


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    server.cut_after = 100_000
    with pytest.raises(DownloadError, match=r"100000 of 256000 bytes; 100000 bytes are kept") as caught:
        fetch(server.url, name="w")
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == ["file.pth.part", "file.pth.part.json"]
    server.cut_after = None
    assert fetch(server.url, name="w").read_bytes() == server.content
    assert server.requests == [None, "bytes=100000-"]
    assert files(tmp_path) == ["file.pth"]


def test_a_weak_etag_gives_way_to_the_date(server):
    server.etag, server.modified = None, "Mon, 01 Aug 2022 00:00:00 GMT"
    server.cut_after = 100_000
    with pytest.raises(DownloadError):
        fetch(server.url, name="w")
    server.cut_after = None
    assert fetch(server.url, name="w").read_bytes() == server.content
    assert server.requests[1] == "bytes=100000-"


@pytest.mark.parametrize("change", ["file", "no ranges", "no validator"])
def test_what_cannot_be_continued_starts_over(server, change):
    if change == "no validator":
        server.etag = None
    server.cut_after = 100_000
    with pytest.raises(DownloadError):
        fetch(server.url, name="w")
    server.cut_after = None
    if change == "file":
        server.etag, server.content = '"v2"', bytes(reversed(server.content))
    server.ranges = change != "no ranges"
    assert fetch(server.url, name="w").read_bytes() == server.content
    assert server.requests[1] == (None if change == "no validator" else "bytes=100000-")


def test_a_part_longer_than_the_file_starts_over(server, tmp_path):
    folder = tmp_path / "cache" / "w"
    folder.mkdir(parents=True)
    (folder / "file.pth.part").write_bytes(bytes(300_000))
    (folder / "file.pth.part.json").write_text('{"validator": "\\"v1\\""}')
    assert fetch(server.url, name="w").read_bytes() == server.content


def test_a_damaged_cache_is_seen_and_removed(server, tmp_path):
    path = fetch(server.url, name="w")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DownloadError, match="SHA-256"):
        fetch(server.url, name="w")
    assert files(tmp_path) == []
    assert fetch(server.url, name="w").read_bytes() == server.content


def test_a_changed_file_does_not_pass_the_pin(server, tmp_path):
    fetch(server.url, name="w").unlink()
    server.etag, server.content = '"v2"', b"something else"
    with pytest.raises(DownloadError, match="pinned") as caught:
        fetch(server.url, name="w")
    assert "pins.json" in str(caught.value)
    assert "file.pth" not in files(tmp_path)


def test_a_hash_in_the_publishers_name_is_checked_on_first_use(server, tmp_path):
    digest = hashlib.sha256(server.content).hexdigest()
    assert fetch(server.url, name="w", sha256_prefix=digest[:8]).exists()
    server.content, other = b"other", server.url + "2"
    with pytest.raises(DownloadError, match="SHA-256"):
        fetch(other, name="w", sha256_prefix=digest[:8])


@pytest.mark.parametrize(("status", "expected"), [(404, "answered 404 Not Found"), (503, "answered 503")])
def test_a_server_that_refuses(server, tmp_path, status, expected):
    server.status = status
    with pytest.raises(DownloadError, match=f"cannot fetch w: .*{expected}") as caught:
        fetch(server.url, name="w")
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == []


@pytest.mark.parametrize("line", ["200 OK\r\nContent-Length: abc", "301 Moved\r\nLocation: http://[bad"])
def test_a_server_that_answers_nonsense(server, monkeypatch, line):
    def answer(handler):
        handler.wfile.write(f"HTTP/1.0 {line}\r\n\r\nhello".encode())

    monkeypatch.setattr(Handler, "do_GET", answer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # urllib leaves open what redirects to nowhere
        with pytest.raises(DownloadError, match="cannot fetch w from http"):
            fetch(server.url, name="w")
        gc.collect()


def test_no_server_at_all(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match=r"cannot fetch w from http://127\.0\.0\.1:9/x\.pth: .*refused"):
        fetch("http://127.0.0.1:9/x.pth", name="w")


def test_damaged_pins_stop_everything(server, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "pins.json").write_text("[")
    with pytest.raises(DownloadError, match=r"pins\.json is damaged"):
        fetch(server.url, name="w")


def test_two_at_once_fetch_once(server):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(server.url, name="w"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 3
    assert server.requests == [None]


def test_published_weights_by_name(server, tmp_path, monkeypatch):
    torch.save(create_model("mobileone_s0", form="inference").state_dict(), tmp_path / "s0.pth")
    server.content = (tmp_path / "s0.pth").read_bytes()
    weights = PublishedWeights(
        name="mobileone_s0.local",
        variant="mobileone_s0",
        source=server.url,
        layout="timm",
        form="inference",
        licence="none",
        top1=0.0,
        top5=None,
        accuracy_source="nobody",
    )
    monkeypatch.setitem(source_module.PUBLISHED, weights.name, weights)
    for _ in range(2):
        assert describe("mobileone_s0.local").num_parameters == 2_078_504
    assert len(server.requests) == 1
