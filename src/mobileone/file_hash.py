"""SHA-256 of files of any size, a part at a time."""

from __future__ import annotations

import hashlib
import os
from typing import IO

PART_BYTES = 1 << 20


def sha256_of(file: IO[bytes]) -> str:
    """Hash of an open file from its beginning, hexadecimal."""
    file.seek(0)
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    while part := file.read(PART_BYTES):
        digest.update(part)
    return digest.hexdigest()


def sha256_of_path(path: str | os.PathLike[str]) -> str:
    """The same of a file that is not open."""
    with open(path, "rb") as file:
        return sha256_of(file)
