"""Bytes from URLs and pipes: bounded in time, tried again where that may help, with a line for each try.

http and https are read by Python itself, `file://` as a file. What else there is (`gs://`, `hf://`, …) is
read by `webdataset` through programs of their own, and the rest of `pipe:COMMAND` is given to the shell.
"""

from __future__ import annotations

import http.client
import select
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from mobileone.data.shards.address import is_url, webdataset
from mobileone.errors import DataError
from mobileone.limits import FETCH_SECONDS, STALL_SECONDS
from mobileone.outside_text import printable
from mobileone.regular_file import open_regular

T = TypeVar("T")

RETRY_S = (1.0, 10.0)
"""Waits before an address that could not be read is tried again: networks have their moments."""

CHUNK_BYTES = 2**20
# curl says little more than its exit code, and is what most pipes begin with.
_CURL = {
    3: "a malformed URL",
    6: "unknown host",
    7: "no connection",
    18: "the connection was dropped before the end",
    22: "an HTTP error, such as 404",
    28: "it took too long",
    35: "no TLS connection",
    52: "an empty answer",
    56: "the connection was dropped",
    60: "its certificate is not trusted",
}
# A request that is wrong stays wrong; these say "later".
_PASSING = {http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS}


class FinalError(DataError):
    """Trying again cannot help."""


def patiently(read: Callable[[float], T]) -> T:
    """What `read` gives; where it fails it is tried again, twice, each time with a line on stderr.

    Args:
        read: gets the time, by `time.monotonic`, at which all tries together have taken too long.

    Raises:
        DataError: that of the last try.
    """
    until = time.monotonic() + FETCH_SECONDS.value
    for number, wait in enumerate(RETRY_S, start=1):
        try:
            return read(until)
        except FinalError:
            raise
        except DataError as error:
            if time.monotonic() + wait >= until:
                raise
            again = f"trying again in {wait:.0f} s ({number} of {len(RETRY_S)})"
            tqdm.write(f"{printable(str(error))}; {again}", file=sys.stderr)
            time.sleep(wait)
    return read(until)


@contextmanager
def open_remote(address: str, *, until: float | None = None) -> Iterator[Iterator[bytes]]:
    """The content of a URL or pipe, in chunks.

    Args:
        address: a URL, or `pipe:COMMAND`.
        until: when to give up, by `time.monotonic`; None gives it `FETCH_SECONDS`.

    Raises:
        DataError: if it cannot be opened, ends with an error or too early, stalls, or takes too long.
        MissingExtraError: without webdataset, for what is neither http, https nor a file.
    """
    until = time.monotonic() + FETCH_SECONDS.value if until is None else until
    if not is_url(address):
        with _open_program(address) as stream:
            yield _in_time(_program_chunks(stream, address), address, until)
    elif not address.lower().startswith("file:"):
        with _open_http(address) as response:
            yield _in_time(_http_chunks(response, address), address, until)
    else:
        path = urllib.request.url2pathname(urllib.parse.urlsplit(address).path)
        try:
            with open_regular(path) as file:
                yield iter(lambda: file.read(CHUNK_BYTES), b"")
        except OSError as error:
            raise FinalError(f"cannot read {address}: {error.strerror or error}") from None


def _in_time(chunks: Iterator[bytes], address: str, until: float) -> Iterator[bytes]:
    for chunk in chunks:
        if time.monotonic() > until:
            raise DataError(f"{address} was not there after {FETCH_SECONDS} seconds")
        yield chunk


# --- http and https


@contextmanager
def _open_http(url: str) -> Iterator[http.client.HTTPResponse]:
    request = urllib.request.Request(url, headers={"User-Agent": "mobileone", "Accept-Encoding": "identity"})
    try:
        response = urllib.request.urlopen(request, timeout=STALL_SECONDS.value)
    except urllib.error.HTTPError as error:
        error.close()
        kind = DataError if error.code >= 500 or error.code in _PASSING else FinalError
        raise kind(f"cannot read {url}: the server answered {error.code} {error.reason}") from None
    except (http.client.HTTPException, OSError, ValueError) as error:  # URLError is an OSError
        raise _network_error(url, error) from None
    with response:
        yield response


def _http_chunks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    expected, received = response.length, 0
    while True:
        try:
            chunk = response.read1(CHUNK_BYTES)  # no more than has come, so that a trickle is noticed
        except (http.client.HTTPException, OSError) as error:
            raise _network_error(url, error) from None
        if not chunk:
            break
        received += len(chunk)
        yield chunk
    if expected is not None and received < expected:
        raise DataError(f"cannot read {url}: the connection was dropped after {received} of {expected} bytes")


def _network_error(url: str, error: Exception) -> DataError:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError):
        return DataError(f"{url} gave nothing for {STALL_SECONDS} seconds")
    return DataError(f"cannot read {url}: {reason or type(error).__name__}")


# --- pipes, and URLs that need a program


@contextmanager
def _open_program(address: str) -> Iterator[Any]:
    gopen = webdataset("gopen").gopen
    try:
        stream = gopen(address, "rb", bufsize=0)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise FinalError(f"cannot open {address}: {error}") from None
    try:
        yield stream
    finally:
        process = getattr(stream, "proc", None)
        if process is None:
            stream.close()
        else:
            process.stdout.close()
            process.kill()  # it has ended, or what more it has to say is not wanted
            process.wait()


def _program_chunks(stream: Any, address: str) -> Iterator[bytes]:
    process = getattr(stream, "proc", None)
    while True:
        if process is None:
            chunk = stream.read(CHUNK_BYTES)
        else:
            if not select.select([process.stdout], [], [], STALL_SECONDS.value)[0]:
                raise DataError(f"{address} gave nothing for {STALL_SECONDS} seconds")
            chunk = process.stdout.read(CHUNK_BYTES)
        if not chunk:
            break
        yield chunk
    if process is not None and process.wait() != 0:
        raise DataError(f"cannot read {address} ({_reason(process.returncode, address)})")


def _reason(code: int, address: str) -> str:
    """Why a program ended, in words.

    >>> _reason(18, "pipe:curl -s https://a.org/1.tar"), _reason(-9, "pipe:cat 1.tar")
    ('exit code 18: the connection was dropped before the end', 'killed by SIGKILL')
    """
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    known = _CURL.get(code, "") if "curl" in address or not address.startswith("pipe:") else ""
    if code == 127:
        known = "there is no such program"
    return f"exit code {code}" + (f": {known}" if known else "")
