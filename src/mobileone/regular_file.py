"""Reading files that may be anything: no pipe that never ends, no device, no more than a bound. No torch.

Every error is an `OSError` or `ValueError` in words, which the caller makes its own.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from io import BufferedReader
from typing import Any

from mobileone.limits import JSON_BYTES, Limit

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """A regular file, or a link to one, opened to read; anything else is refused before it can do harm.

    Raises:
        OSError: if it cannot be opened, or is no regular file.

    >>> open_regular(os.curdir)
    Traceback (most recent call last):
    OSError: [Errno 22] no regular file but a folder: '.'
    """
    return os.fdopen(regular_descriptor(path), "rb")


def regular_descriptor(path: str | os.PathLike[str]) -> int:
    """The same as a file descriptor, for the caller to close.

    Raises:
        OSError: as `open_regular`.
    """
    # Looked at twice: opening some devices does something already, and a name can change in between.
    _require_regular(os.stat(path).st_mode, path)
    # Opening a pipe waits for who writes into it, unless told not to; regular files do not mind.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: str | os.PathLike[str], limit: Limit) -> bytes:
    """The whole content of a regular file, whatever its size claims to be.

    Raises:
        OSError: as `open_regular`, or if there is more than the limit.
    """
    most = limit.value
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > most else file.read(size + 1)
        if len(content) > size:  # that of a file that grows, or of /proc, is not the last word
            content += file.read(most + 1 - len(content))
    if size > most or len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {limit}", os.fspath(path))
    return content


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: as `read_regular`.
        ValueError: if it is not JSON in UTF-8.
    """
    return parse_json_text(read_regular(path, JSON_BYTES))


def parse_json_text(content: bytes | str) -> Any:
    """JSON from elsewhere, in UTF-8.

    Raises:
        ValueError: if it is not, is nested beyond any use, or holds text that is no Unicode.

    >>> parse_json_text('{"a": [1]}')
    {'a': [1]}
    """
    text = content if isinstance(content, str) else content.decode("utf-8")
    try:
        value = json.loads(text)
        # Half a surrogate pair, "\\ud800", is JSON and can be printed, stored and shown nowhere.
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a text in it is not Unicode") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def _require_regular(mode: int, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(mode):
        kind = next((words for test, words in _KINDS if test(mode)), "something else")
        raise OSError(errno.EINVAL, f"no regular file but {kind}", os.fspath(path))
