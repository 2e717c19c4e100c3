"""LiteRT.js, which runs fp32 networks on a page: one pinned archive, fetched once by npm or given."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from mobileone.atomic import atomic_path
from mobileone.cache import cache_dir
from mobileone.checkpoint.published import licence_text
from mobileone.errors import ConfigError, DownloadError

PACKAGE, VERSION = "@litertjs/core", "2.5.3"
INTEGRITY = "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ=="
TIMEOUT_S = 300
LOADER = "@litertjs/wasm-utils"  # its other package: a few lines, which static/litert_loader.js has for us
MODULES = tuple(
    f"package/wasm/litert_wasm_{kind}internal.{suffix}"
    for kind in ("", "compat_", "threaded_")
    for suffix in ("js", "wasm")
)
SCRIPT = "package/dist/index.js"


def add_litert(folder: Path, archive: str | os.PathLike[str] | None = None) -> None:
    """Put LiteRT.js into a folder of a site.

    Args:
        folder: to make.
        archive: the package's archive; None takes it from the cache, or has npm fetch it.

    Raises:
        ConfigError: if the archive cannot be read, or is another than the pinned one.
        DownloadError: if npm is missing or cannot fetch it, or fetches another.
    """
    path = _fetched() if archive is None else Path(archive)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if not _is_pinned(content):
        raise ConfigError(f"{path} is not the archive of {PACKAGE} {VERSION}: its SHA-512 is another")
    folder.mkdir()
    with tarfile.open(path) as packed:
        for member in (SCRIPT, *MODULES):
            file = packed.extractfile(member)
            assert file is not None  # the hash is the pinned one's
            data = file.read()
            if member == SCRIPT:
                data = data.replace(f'"{LOADER}"'.encode(), b'"../litert_loader.js"')
            (folder / Path(member).name).write_bytes(data)
    # Which the archive lacks.
    (folder / "LICENSE.txt").write_text(licence_text("apache-2.0"), encoding="utf-8")


def _fetched() -> Path:
    """The archive, from the cache; else npm puts it there, from the registry that it is told to use."""
    kept = cache_dir() / "litertjs" / f"core-{VERSION}.tgz"
    if kept.exists() and _is_pinned(kept.read_bytes()):
        return kept
    npm = shutil.which("npm")
    how = f"give the archive of {PACKAGE} {VERSION} itself as runtime_archive"
    if npm is None:
        raise DownloadError(f"LiteRT.js is fetched by npm, which is not there; install it, or {how}")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DownloadError(f"npm did not fetch {PACKAGE}: {error}; {how}") from error
        found = sorted(Path(folder).glob("*.tgz"))
        if done.returncode or not found:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise DownloadError(f"npm did not fetch {PACKAGE}: {lines[0] if lines else 'no message'}; {how}")
        content = found[0].read_bytes()
    if not _is_pinned(content):
        raise DownloadError(f"npm fetched {PACKAGE} {VERSION} with another SHA-512 than the pinned; not kept")
    with atomic_path(kept) as made:
        made.write_bytes(content)
    return kept


def _is_pinned(content: bytes) -> bool:
    return base64.b64encode(hashlib.sha512(content).digest()).decode() == INTEGRITY
