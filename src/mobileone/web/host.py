"""A finished site on the local network: with the headers that threads need, and TLS that cameras need.

Imports no torch.
"""

from __future__ import annotations

import gzip
import io
import os
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

from mobileone.errors import ConfigError
from mobileone.serving.listen import listen
from mobileone.web.self_signed import Certificate, self_signed

# A page is isolated, so its threads may share memory, where it loads nothing of others.
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # a site that was built anew is seen at once
}
# Some systems' tables of types lack these; browsers refuse modules and compile wasm slowly then.
TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    "": "application/octet-stream",
}
COMPRESSED_ALREADY = (".png", ".jpg", ".gz", ".webp")
EVERYWHERE = ("0.0.0.0", "::", "")
TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Hosted:
    """Where a site is served.

    Attributes:
        address: to open on this machine, and on others unless it is this machine alone that listens.
        is_local: whether only this machine can open it.
        fingerprint: SHA-256 of the self-signed certificate, as browsers show it; none without TLS.
    """

    address: str
    is_local: bool
    fingerprint: str | None


def host(
    folder: str | os.PathLike[str],
    *,
    address: str = "0.0.0.0",
    port: int = 8000,
    tls: bool = False,
    on_start: Callable[[Hosted], None] = lambda _: None,
) -> None:
    """Serve a site's files until interrupted.

    Args:
        folder: what `web` wrote.
        address: to listen at; by default every network of this machine.
        port: 0 takes a free one.
        tls: by https, with a certificate that this machine signs itself and keeps in the cache: browsers give
            the camera to pages of other machines only then.
        on_start: told where, once it listens.

    Raises:
        ConfigError: if the folder is no site, or the address cannot be listened at.
        MissingExtraError: on `tls` without the extra `web`.
    """
    folder = Path(folder)
    for name in ("index.html", "site.json"):
        if not (folder / name).is_file():
            raise ConfigError(
                f"{folder} is no site: it has no {name}; build one with `mobileone web MODEL -o DIR`"
            )
    shown = network_address() if address in EVERYWHERE else address
    certificate = self_signed(shown) if tls else None
    listener = listen(address, port)
    number = listener.getsockname()[1]
    with SiteServer(listener, folder, certificate=certificate) as server:
        url = f"{'https' if tls else 'http'}://{f'[{shown}]' if ':' in shown else shown}:{number}/"
        is_local = shown.startswith("127.") or shown in ("::1", "localhost")
        on_start(Hosted(url, is_local, certificate.fingerprint if certificate else None))
        server.serve_forever()


def network_address() -> str:
    """This machine's address in its network, 127.0.0.1 where it has none. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address that belongs to nobody: only the route is looked up
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


class SiteServer(ThreadingHTTPServer):
    """Serves one folder at a socket that listens already, by TLS where it is given key and certificate."""

    def __init__(
        self, listener: socket.socket, folder: Path, *, certificate: Certificate | None = None
    ) -> None:
        handler = partial(SiteHandler, directory=os.fspath(folder))
        super().__init__(listener.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(certificate.path)
            # Each connection's own thread shakes hands, so that one that hangs holds up nobody.
            self.socket = context.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: object, client_address: object) -> None:
        """Phones hang up, and refuse certificates, all the time: no news. Anything else is."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class SiteHandler(SimpleHTTPRequestHandler):
    """Files with the right headers and types, compressed where that helps; no listings, no log."""

    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S
    extensions_map = TYPES

    def end_headers(self) -> None:
        """Every answer has ours."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def send_head(self) -> BinaryIO | io.BytesIO | None:
        """Headers; the body to follow."""
        path = Path(self.translate_path(self.path))
        if not os.path.exists(path):  # before it is opened, which raises other errors for %00 and the like
            self.send_error(404)
            return None
        path = path / "index.html" if path.is_dir() and self.path.split("?")[0].endswith("/") else path
        takes = "gzip" in self.headers.get("Accept-Encoding", "")
        if not takes or not path.is_file() or path.suffix in COMPRESSED_ALREADY:
            return super().send_head()
        if "If-Modified-Since" in self.headers:
            return super().send_head()
        stat = path.stat()
        data = _compressed(path, stat.st_mtime_ns, stat.st_size)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Vary", "Accept-Encoding")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", self.date_time_string(stat.st_mtime))
        self.end_headers()
        return io.BytesIO(data)

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        """A folder without index.html is not found."""
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: who looks at the page is nobody's business."""


@lru_cache(maxsize=64)
def _compressed(path: Path, modified_ns: int, size: int) -> bytes:
    """A file as gzip, kept until it changes."""
    return gzip.compress(path.read_bytes(), compresslevel=6, mtime=0)
