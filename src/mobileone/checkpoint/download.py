"""Published files, fetched once: to a cache, whole or not at all, resumable, pinned by their hash."""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from mobileone.atomic import atomic_path
from mobileone.cache import cache_dir
from mobileone.errors import DownloadError
from mobileone.file_hash import sha256_of_path
from mobileone.regular_file import read_json

PINS_NAME = "pins.json"
TIMEOUT_S = 30.0
LOCK_TIMEOUT_S = 3600.0
CHUNK_BYTES = 2**18
# A ValueError: a length that is no number, an address that is none.
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)


def fetch(url: str, *, name: str, sha256_prefix: str = "") -> Path:
    """The file behind a URL, from the cache or from the network.

    Its SHA-256 is recorded in the cache's pins.json when it first arrives, and checked at every use after.
    A broken download stays as `.part` and goes on where it stopped, if the server still has the same file.

    Args:
        url: of the file.
        name: folder in the cache, and what messages call it.
        sha256_prefix: hexadecimal start of the hash, where the publisher states it.

    Raises:
        DownloadError: if it cannot be had, or is not the pinned file; a wrong file is not kept.
    """
    folder = cache_dir() / name
    target = folder / Path(urllib.parse.urlsplit(url).path).name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_dir() / ".lock", timeout=LOCK_TIMEOUT_S):
            return _fetch(url, target, name, sha256_prefix)
    except Timeout as error:
        raise DownloadError(f"cannot fetch {name}: another process holds {cache_dir() / '.lock'}") from error
    except OSError as error:
        raise DownloadError(f"cannot fetch {name} into {folder}: {error.strerror or error}") from error


def _fetch(url: str, target: Path, name: str, sha256_prefix: str) -> Path:
    pins_path = cache_dir() / PINS_NAME
    pins = _read_pins(pins_path)
    pinned = str(pins.get(url, {}).get("sha256", sha256_prefix))
    # A file without a pin is of another URL, or older than the pins: not to be trusted.
    arrived = target if url in pins and target.is_file() else _download(url, target, name)
    digest = sha256_of_path(arrived)
    if not digest.startswith(pinned):
        arrived.unlink()
        raise DownloadError(
            f"{name}: {url} has SHA-256 {digest}, pinned is {pinned}; the file was removed. If the publisher "
            f"replaced it on purpose, delete its entry in {pins_path}"
        )
    if url not in pins:
        pins[url] = {"name": name, "sha256": digest, "size_bytes": arrived.stat().st_size}
        with atomic_path(pins_path) as temporary:
            temporary.write_text(json.dumps(pins, indent=2) + "\n", encoding="utf-8")
    if arrived != target:
        arrived.replace(target)
        _validator_path(arrived).unlink(missing_ok=True)
    return target


def _read_pins(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        pins = read_json(path)
        if isinstance(pins, dict) and all(isinstance(pin, dict) for pin in pins.values()):
            return pins
    except (OSError, ValueError):
        pass
    # Forgetting the pins would trust the network again, so the user decides.
    raise DownloadError(f"{path} is damaged; delete it to pin anew from the next download on")


def _validator_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _download(url: str, target: Path, name: str) -> Path:
    """Fetch into `target`.part, going on after what is there."""
    part = target.with_name(target.name + ".part")
    try:
        with _open(url, part) as response:
            _receive(response, part, name)
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(f"cannot fetch {name}: {url} answered {error.code} {error.reason}") from error
    except _NETWORK_ERRORS as error:
        reason = getattr(error, "reason", None) or error
        kept = f"; {part.stat().st_size} bytes are kept, run it again to go on" if part.exists() else ""
        raise DownloadError(
            f"cannot fetch {name} from {url}: {reason or type(error).__name__}{kept}"
        ) from error
    return part


def _open(url: str, part: Path) -> http.client.HTTPResponse:
    # If-Range makes the server send the whole file where it is no longer the one we have the start of.
    headers = {"User-Agent": "mobileone", "Accept-Encoding": "identity"}
    validator = _read_validator(part)
    if validator:
        ranged = headers | {"Range": f"bytes={part.stat().st_size}-", "If-Range": validator}
        try:
            return _request(url, ranged)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
    return _request(url, headers)


def _request(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers=headers)
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    return response


def _read_validator(part: Path) -> str:
    """The strong ETag, or else the date, of the file that `part` is the start of; empty if unknown."""
    try:
        return str(json.loads(_validator_path(part).read_text())["validator"]) if part.exists() else ""
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _receive(response: http.client.HTTPResponse, part: Path, name: str) -> None:
    start = 0
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        start = part.stat().st_size
        if not str(response.headers.get("Content-Range")).startswith(f"bytes {start}-"):
            raise http.client.HTTPException("the server sent another range than asked for")
    else:
        etag = response.headers.get("ETag", "")
        validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
        part.unlink(missing_ok=True)  # never the old start beside the new file's validator
        _validator_path(part).write_text(json.dumps({"validator": validator}))
    length = response.headers.get("Content-Length")
    total = None if length is None else start + int(length)
    bar = tqdm(
        total=total, initial=start, desc=name, unit="B", unit_scale=True, file=sys.stderr, disable=None
    )
    with part.open("ab") as file, bar:
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and part.stat().st_size != total:
        raise http.client.HTTPException(f"the connection ended after {part.stat().st_size} of {total} bytes")
