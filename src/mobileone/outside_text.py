"""Text from outside, such as names of files and classes, where people and programs read it. Imports no torch.

A name may hold anything: sequences that a terminal obeys, line breaks, characters that turn the reading
order round, half a surrogate pair, the beginning of a formula.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from mobileone.errors import ConfigError

# C0 and C1 controls, DEL, marks that reorder or break lines, and what is no Unicode.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_IN_LINES = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b\x0c\x0e-\x1f"))
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str | os.PathLike[str]) -> str:
    r"""A name or path in one line that any terminal and UTF-8 file takes: what is unsafe is escaped.

    >>> print(printable("cat\x1b[31m.jpg"))
    cat\x1b[31m.jpg
    """
    return _UNSAFE.sub(_escaped, os.fspath(text))


def printable_lines(text: str) -> str:
    r"""The same for whole lines: line ends, carriage returns and tabs stay.

    >>> print(printable_lines("a\x07\nb"))
    a\x07
    b
    """
    return _UNSAFE_IN_LINES.sub(_escaped, text)


def require_unicode(text: str | os.PathLike[str], *, what: str) -> None:
    r"""Raise where a name holds bytes that are not UTF-8: JSON, safetensors and most runtimes cannot have it.

    Args:
        text: a name or path, as Python holds it.
        what: it is, for the message.

    Raises:
        ConfigError: if it does.

    >>> require_unicode("caf\udce9", what="run_dir")
    Traceback (most recent call last):
    mobileone.errors.ConfigError: run_dir must be a name in UTF-8, got caf\xe9; rename it
    """
    try:
        os.fspath(text).encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(f"{what} must be a name in UTF-8, got {printable(text)}; rename it") from None


def json_text(value: Any, *, indent: int | None = None, only_ascii: bool = False) -> str:
    r"""JSON that is as safe to look at, and gives back the very same text when it is parsed.

    Raises:
        ValueError: on a number that JSON does not have.

    >>> print(json_text({"name": "\x9b2J é"}))
    {"name": "\u009b2J é"}
    """
    text = json.dumps(value, indent=indent, allow_nan=False, default=str, ensure_ascii=only_ascii)
    # Outside of its strings, where these cannot be, JSON has no control characters but line ends.
    return _UNSAFE_IN_LINES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def csv_cell(text: str) -> str:
    """A table's cell that no spreadsheet takes for a formula: an apostrophe goes before what begins like one.

    >>> csv_cell("=1+1"), csv_cell("cat")
    ("'=1+1", 'cat')
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8, as Python holds it
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
