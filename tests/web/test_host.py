"""A site on the network: headers, types, compression, TLS, and nothing but the site's own files."""

import contextlib
import gzip
import http.client
import ssl
import threading

import pytest

from mobileone.errors import ConfigError, MissingExtraError
from mobileone.web.host import SiteServer, host, network_address


@pytest.fixture
def site(tmp_path):
    """A folder with a page, a module, wasm, a picture and a folder without a page."""
    folder = tmp_path / "site"
    (folder / "inner").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>" + "page " * 100)
    (folder / "site.json").write_text("{}")
    (folder / "app.js").write_text("export {};")
    (folder / "net.wasm").write_bytes(b"\0asm" * 100)
    (folder / "icon.png").write_bytes(b"png")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def hosted(monkeypatch):
    """`hosted(folder, **options)`: what `on_start` was told; stopped at the end."""
    running = []

    def start(folder, **options):
        told, ready = [], threading.Event()
        monkeypatch.setattr(SiteServer, "__init__", remembering(SiteServer.__init__, running))
        work = threading.Thread(
            target=host,
            args=(folder,),
            kwargs={"port": 0, **options, "on_start": lambda at: (told.append(at), ready.set())},
        )
        work.start()
        assert ready.wait(20)
        return told[0]

    yield start
    for server in running:
        server.shutdown()


def remembering(init, running):
    def remember(self, *arguments, **options):
        init(self, *arguments, **options)
        running.append(self)

    return remember


def get(address, path, *, context=None, **headers):
    """Status, headers and body."""
    scheme, _, where = address.partition("://")
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    options = {"context": context} if context else {}
    with contextlib.closing(kind(where.strip("/"), timeout=20, **options)) as connection:
        connection.request(
            "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_threads_and_modules_get_the_headers_and_types_that_they_need(site, hosted):
    at = hosted(site, address="127.0.0.1")
    assert at.is_local
    assert at.fingerprint is None
    for path, kind in (("/", "text/html"), ("/app.js", "text/javascript"), ("/net.wasm", "application/wasm")):
        status, headers, body = get(at.address, path)
        assert status == 200
        assert headers["content-type"].startswith(kind)
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-embedder-policy"] == "require-corp"
        assert headers["x-content-type-options"] == "nosniff"
        assert len(body) == int(headers["content-length"])


def test_what_shrinks_is_compressed_and_what_is_known_is_not_sent_again(site, hosted):
    at = hosted(site, address="127.0.0.1")
    status, headers, body = get(at.address, "/net.wasm", accept_encoding="gzip, br")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert len(body) < 100
    assert gzip.decompress(body) == (site / "net.wasm").read_bytes()
    assert "content-encoding" not in get(at.address, "/icon.png", accept_encoding="gzip")[1]
    known = {"accept_encoding": "gzip", "if_modified_since": headers["last-modified"]}
    assert get(at.address, "/net.wasm", **known)[0] == 304
    (site / "net.wasm").write_bytes(b"new")
    assert gzip.decompress(get(at.address, "/net.wasm", accept_encoding="gzip")[2]) == b"new"


def test_nothing_but_the_site_is_given(site, hosted):
    at = hosted(site, address="127.0.0.1")
    for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/inner/", "/none.txt"):
        status, _, body = get(at.address, path)
        assert status == 404
        assert b"secret" not in body.lower() or b"secret\n" not in body
    assert get(at.address, "/inner")[0] in (301, 404)


@pytest.mark.parametrize("path", ["/%00", "/%ed%a0%80", "/" + "a" * 300])
def test_names_that_no_file_can_have_are_not_found(site, hosted, capsys, path):
    at = hosted(site, address="127.0.0.1")
    assert get(at.address, path)[0] == 404
    assert capsys.readouterr().err == ""


def test_a_folder_that_is_no_site_is_refused(tmp_path, site):
    with pytest.raises(ConfigError, match=r"is no site: it has no index\.html; build one with"):
        host(tmp_path)
    (site / "site.json").unlink()
    with pytest.raises(ConfigError, match=r"is no site: it has no site\.json"):
        host(site)


def test_everywhere_is_shown_as_the_address_that_others_reach(site, hosted):
    at = hosted(site, address="0.0.0.0")
    assert at.address.startswith(f"http://{network_address()}:")


def test_tls_speaks_with_the_certificate_whose_fingerprint_it_tells(site, hosted, tmp_path, monkeypatch):
    pytest.importorskip("cryptography", reason="needs the extra web")
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    at = hosted(site, address="127.0.0.1", tls=True)
    (path,) = (tmp_path / "cache" / "certificates").iterdir()
    context = ssl.create_default_context(cafile=str(path))
    assert get(at.address, "/site.json", context=context)[2] == b"{}"
    assert len(at.fingerprint.split(":")) == 32
    with pytest.raises(ssl.SSLCertVerificationError):
        get(at.address, "/", context=ssl.create_default_context())
    assert get(at.address, "/site.json", context=context)[0] == 200, "one that refused held up nobody"


def test_without_the_extra_tls_names_it(site, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    with pytest.raises(MissingExtraError, match=r"TLS needs cryptography .*\[web\]"):
        host(site, address="127.0.0.1", port=0, tls=True)
