"""Where shards are: local files, URLs and pipes, in WebDataset's notation, and what stands beside them.

`webdataset` expands braces and opens what is not a local file: `https://`, `gs://`, `hf://` and more through
programs of their own (curl, gsutil), and `pipe:COMMAND`, whose output is the file.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobileone.data.folder import Split
from mobileone.data.shards.index import ShardIndex
from mobileone.errors import DataError, MissingExtraError

STALL_S = 60.0
"""A URL or pipe that gives nothing for so long is given up."""

CHUNK_BYTES = 2**20
_TAR = re.compile(r"\.tar\b(?!.*\.tar\b)", re.DOTALL)  # the last one
_CURL = {3: "a malformed URL", 6: "unknown host", 7: "no connection", 22: "an HTTP error, such as 404"}


def is_shards(data: str | Path) -> bool:
    """Whether a data argument names shards and not a folder of images.

    Shards are a path or pattern that ends in `.tar`, a URL, a pipe, or a folder that holds tar files.

    >>> [is_shards(name) for name in ("a/train-{000..007}.tar", "pipe:cat a.tar", "photos")]
    [True, True, False]
    """
    text = str(data)
    if is_remote(text):
        return True
    return any(Path(data).glob("*.tar")) if os.path.isdir(data) else text.endswith(".tar")


def is_remote(address: str) -> bool:
    """Whether it is a URL or a pipe, not a local path."""
    return address.startswith("pipe:") or re.match(r"\w+://", address) is not None


def expand(pattern: str) -> tuple[str, ...]:
    """The addresses that a pattern stands for: braces expanded, in order.

    Raises:
        DataError: if the pattern cannot be expanded, or names no tar file.
        MissingExtraError: without webdataset, where there are braces.

    >>> expand("out/train-{000008..000010}.tar")
    ('out/train-000008.tar', 'out/train-000009.tar', 'out/train-000010.tar')
    """
    found = [pattern]
    if "{" in pattern or "::" in pattern:
        try:
            found = _webdataset("shardlists").expand_urls(pattern)
        except (ValueError, AssertionError) as error:  # unbalanced braces; a variable that is not set
            raise DataError(f"cannot expand {pattern}: {error}") from None
    for address in found:
        if not _TAR.search(address):
            raise DataError(
                f"{address} names no .tar file; give shards such as DIR/train-{{000000..000007}}.tar"
            )
    repeated = next((address for address in found if found.count(address) > 1), None)
    if repeated:
        raise DataError(f"{pattern} names {repeated} twice")
    return tuple(found)


def index_address(address: str) -> str:
    """Where a shard's index is: the same place, `.json` for the last `.tar`.

    >>> index_address("pipe:curl -s https://a.org/train-000000.tar | cat")
    'pipe:curl -s https://a.org/train-000000.json | cat'
    """
    return _TAR.sub(".json", address)


def shard_name(split: str, number: int) -> str:
    """File name of a shard, without its suffix.

    >>> shard_name("train", 7)
    'train-000007'
    """
    return f"{split}-{number:06d}"


def split_addresses(address: str, index: ShardIndex, split: Split) -> tuple[str, ...] | None:
    """All shards of a split of the data set that the shard at `address` is of; None if that is not known.

    Raises:
        DataError: if the data set has no such split, or the shard was renamed.
    """
    if not index.shards:
        return None
    number = index.shards.get(split, 0)
    if not number:
        raise DataError(f"the data set of {address} has no {split} shards")
    before, name, after = address.rpartition(f"{shard_name(index.split, index.number)}.tar")
    if not name:
        raise DataError(
            f"{address} is {shard_name(index.split, index.number)}.tar by its index; give it that name again"
        )
    return tuple(f"{before}{shard_name(split, i)}.tar{after}" for i in range(number))


@contextmanager
def open_remote(address: str) -> Iterator[Iterator[bytes]]:
    """The content of a URL or pipe, in chunks.

    Raises:
        DataError: if it cannot be opened, ends with an error, or stalls.
        MissingExtraError: without webdataset.
    """
    gopen = _webdataset("gopen").gopen
    try:
        stream = gopen(address, "rb", bufsize=0)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise DataError(f"cannot open {address}: {error}") from None
    try:
        yield _chunks(stream, address)
    finally:
        process = getattr(stream, "proc", None)
        if process is None:
            stream.close()
        else:
            process.stdout.close()
            process.kill()  # it has ended, or what more it has to say is not wanted
            process.wait()


def _chunks(stream: Any, address: str) -> Iterator[bytes]:
    process = getattr(stream, "proc", None)
    while True:
        if process is None:
            chunk = stream.read(CHUNK_BYTES)
        else:
            if not select.select([process.stdout], [], [], STALL_S)[0]:
                raise DataError(f"{address} gave nothing for {STALL_S:.0f} s")
            chunk = process.stdout.read(CHUNK_BYTES)
        if not chunk:
            break
        yield chunk
    if process is not None and process.wait() != 0:
        # A pipe's own program has said more on stderr; curl is silent, and its codes are known.
        known = _CURL.get(process.returncode, "") if not address.startswith("pipe:") else ""
        reason = f"exit code {process.returncode}" + (f": {known}" if known else "")
        raise DataError(f"cannot read {address} ({reason})")


def _webdataset(module: str) -> Any:
    try:
        from importlib import import_module

        return import_module(f"webdataset.{module}")
    except ImportError:
        raise MissingExtraError(
            "lists of shards, URLs and pipes need webdataset, which is not installed; "
            "pip install 'mobileone[shards]'"
        ) from None
