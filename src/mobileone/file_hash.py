"""SHA-256 of files of any size, a part at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

from mobileone.regular_file import open_regular

PART_BYTES = 1 << 20


def sha256_of(file: IO[bytes]) -> str:
    """Hash of an open file from its beginning, hexadecimal."""
    file.seek(0)
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    while part := file.read(PART_BYTES):
        digest.update(part)
    return digest.hexdigest()


def sha256_of_path(path: Path) -> str:
    """The same of a file that is not open.

    Raises:
        OSError: if it is no regular file, or cannot be read.
    """
    with open_regular(path) as file:
        return sha256_of(file)
