"""Where shards are: local files, URLs and pipes, in WebDataset's notation, and what stands beside them.

`webdataset` expands braces; remote.py reads what is not a local file: `https://`, `gs://`, `hf://` and more,
and `pipe:COMMAND`, whose output is the file.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from mobileone.data.layout import Split, folders_in
from mobileone.data.shards.index import ShardIndex
from mobileone.errors import DataError, MissingExtraError
from mobileone.limits import SHARDS

_TAR = re.compile(r"\.tar\b(?!.*\.tar\b)", re.DOTALL)  # the last one


def is_shards(data: str | Path) -> bool:
    """Whether a data argument names shards and not a folder of images.

    Shards are a path or pattern that ends in `.tar`, a URL, a pipe, or a folder that holds tar files: with an
    index, or without folders beside them, for a tar file may also be what a folder of images came in.

    >>> [is_shards(name) for name in ("a/train-{000..007}.tar", "pipe:cat a.tar", "photos")]
    [True, True, False]
    """
    text = str(data)
    if is_remote(text):
        return True
    if not os.path.isdir(data):
        return text.endswith(".tar")
    tars = list(Path(data).glob("*.tar"))
    indexed = any(os.path.exists(index_address(str(tar))) for tar in tars)
    return bool(tars) and (indexed or not folders_in(Path(data)))


def is_remote(address: str) -> bool:
    """Whether it is a URL or a pipe, not a local path."""
    return address.startswith("pipe:") or re.match(r"\w+://", address) is not None


def is_url(address: str) -> bool:
    """Whether it is a URL that is read without the help of another program."""
    return address.lower().startswith(("http://", "https://", "file://"))


def expand(pattern: str) -> tuple[str, ...]:
    """The addresses that a pattern stands for: braces expanded, in order.

    Raises:
        DataError: if the pattern cannot be expanded, or names no tar file.
        MissingExtraError: without webdataset, where there are braces.

    >>> expand("out/train-{000008..000010}.tar")
    ('out/train-000008.tar', 'out/train-000009.tar', 'out/train-000010.tar')
    """
    found = [pattern]
    if _at_most(pattern) > SHARDS.value:
        raise DataError(f"{pattern} stands for more shards than {SHARDS}")
    if "{" in pattern or "::" in pattern:
        try:
            found = webdataset("shardlists").expand_urls(pattern)
        except (ValueError, AssertionError) as error:  # unbalanced braces; a variable that is not set
            raise DataError(f"cannot expand {pattern}: {error}") from None
    for address in found:
        if not _TAR.search(address):
            raise DataError(
                f"{address} names no .tar file; give shards such as DIR/train-{{000000..000007}}.tar"
            )
    repeated = next((address for address, number in Counter(found).items() if number > 1), None)
    if repeated:
        raise DataError(f"{pattern} names {repeated} twice")
    return tuple(found)


def _at_most(pattern: str) -> int:
    """A number that the expansions of a pattern cannot exceed, without expanding it.

    >>> _at_most("a/{000000..000009}-{x,y,z}.tar"), _at_most("{1..2}::{1..999999999999}")
    (30, 1999999999998)
    """
    most, innermost = 1, re.compile(r"\{([^{}]*)\}")
    while match := innermost.search(pattern):
        ends = match[1].split("..")
        most *= match[1].count(",") + 1 if len(ends) == 1 else _span(ends[0], ends[1])
        pattern = pattern[: match.start()] + pattern[match.end() :]
    return most


def _span(first: str, last: str) -> int:
    try:
        return abs(int(last) - int(first)) + 1
    except ValueError:  # letters, or nothing that can be expanded
        return abs(ord(last) - ord(first)) + 1 if len(first) == len(last) == 1 else 1


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


def webdataset(module: str) -> Any:
    """One of its modules.

    Raises:
        MissingExtraError: where it is not installed.
    """
    try:
        from importlib import import_module

        return import_module(f"webdataset.{module}")
    except ImportError:
        raise MissingExtraError(
            "lists of shards, URLs and pipes need webdataset, which is not installed; "
            "pip install 'mobileone[shards]'"
        ) from None
