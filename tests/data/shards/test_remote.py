"""URLs and pipes: their content, their failures in words, and how long anything may take."""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mobileone.data.shards import remote
from mobileone.data.shards.remote import open_remote, patiently
from mobileone.errors import DataError


@pytest.fixture
def moody_server():
    """Gives what its path says: a status to answer with, or how the connection ends."""
    seen = []

    class Moody(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            mood = self.path.removeprefix("/").removesuffix(".tar")
            if mood == "twice-500":
                mood = "500" if len(seen) < 3 else "200"
            if mood.isdigit():
                self.send_response(int(mood))
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"data")
                return
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 100)
            self.wfile.flush()
            while mood == "trickle" and not stop.wait(0.05):
                try:
                    self.wfile.write(b"y")
                except OSError:
                    return

        def log_message(self, *_):
            pass

    stop = threading.Event()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", seen
    stop.set()
    http.shutdown()
    thread.join()
    http.server_close()


def content(address, until=None):
    with open_remote(address, until=until) as chunks:
        return b"".join(chunks)


def test_a_pipe_gives_its_output_and_its_failure(tmp_path):
    with open_remote("pipe:printf 'a b'") as chunks:
        assert b"".join(chunks) == b"a b"
    with pytest.raises(DataError, match=r"pipe:exit 3 .*exit code 3"), open_remote("pipe:exit 3") as chunks:
        list(chunks)
    with open_remote("pipe:yes") as chunks:  # what is left unread ends with it
        assert next(chunks).startswith(b"y\n")


def test_a_pipe_that_stalls_is_given_up(monkeypatch):
    monkeypatch.setenv("MOBILEONE_MAX_STALL_SECONDS", "1")
    with pytest.raises(DataError, match="gave nothing"), open_remote("pipe:exec sleep 30") as chunks:
        list(chunks)


def test_unknown_schemes_and_hosts_are_one_error():
    with pytest.raises(DataError, match="no gopen handler"), open_remote("gopher://a.org/x.tar") as chunks:
        list(chunks)


def test_a_url_that_answers_404_says_so(server):
    complaint = r"none\.tar: the server answered 404"
    with pytest.raises(DataError, match=complaint), open_remote(f"{server}/none.tar") as chunks:
        list(chunks)


@pytest.mark.parametrize(
    ("mood", "complaint"),
    [
        ("500", "the server answered 500"),
        ("403", "the server answered 403"),
        ("drop", "the connection was dropped after 100 of 1000 bytes"),
    ],
)
def test_http_failures_are_said_in_words(mood, complaint, moody_server):
    with pytest.raises(DataError, match=complaint):
        content(f"{moody_server[0]}/{mood}.tar")


def test_what_fails_for_a_moment_is_tried_again_with_a_line_for_each(moody_server, monkeypatch, capsys):
    monkeypatch.setattr(remote, "RETRY_S", (0.0, 0.0))
    url, seen = moody_server
    assert patiently(lambda until: content(f"{url}/twice-500.tar", until)) == b"data"
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("; ")[-1] for line in lines] == [f"trying again in 0 s ({n} of 2)" for n in (1, 2)]
    assert all("twice-500.tar: the server answered 500" in line for line in lines)
    assert len(seen) == 3


@pytest.mark.parametrize(("mood", "tries"), [("500", 3), ("429", 3), ("404", 1), ("drop", 3)])
def test_what_keeps_failing_ends_and_what_is_final_is_not_repeated(mood, tries, moody_server, monkeypatch):
    monkeypatch.setattr(remote, "RETRY_S", (0.0, 0.0))
    url, seen = moody_server
    with pytest.raises(DataError):
        patiently(lambda until: content(f"{url}/{mood}.tar", until))
    assert len(seen) == tries


def test_all_tries_together_are_bounded(moody_server, monkeypatch):
    monkeypatch.setenv("MOBILEONE_MAX_FETCH_SECONDS", "1")
    monkeypatch.setattr(remote, "RETRY_S", (5.0, 10.0))
    url, seen = moody_server
    with pytest.raises(DataError, match="answered 500"):
        patiently(lambda until: content(f"{url}/500.tar", until))  # the first wait would be too long
    assert len(seen) == 1
    with pytest.raises(DataError, match=r"not there after 1 \(\$MOBILEONE_MAX_FETCH_SECONDS sets"):
        content(f"{url}/trickle.tar", time.monotonic() + 0.2)


def test_exit_codes_have_words():
    with pytest.raises(DataError, match="exit code 18: the connection was dropped before the end"):
        content("pipe:exit 18 # curl")
    with pytest.raises(DataError, match="killed by SIGKILL"):
        content("pipe:kill -9 $$")
    with pytest.raises(DataError, match="exit code 127: there is no such program"):
        content("pipe:no-such-program 2>/dev/null")


def test_a_file_url_reads_regular_files_only(tmp_path, no_hang):
    (tmp_path / "a b.tar").write_bytes(b"abc")
    assert content((tmp_path / "a b.tar").as_uri()) == b"abc"
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", "/dev/zero"):
        with pytest.raises(DataError, match="no regular file"):
            content(f"file://{path}")
