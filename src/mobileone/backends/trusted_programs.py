"""Artifacts that are programs run here only if they were written here, or if the user says so. No torch.

Most formats are data: a runtime computes what they describe and can do nothing else. C source is compiled
and called, and PyTorch evaluates expressions in a .pt2 file as Python, so running one of these is running
whatever its author put in. What this package writes is noted in the cache by its hash; a copy of it, under
any name, is known again.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mobileone.backends.manifest import Manifest
from mobileone.backends.table import BACKENDS
from mobileone.cache import cache_dir
from mobileone.errors import ArtifactError

TRUST_VARIABLE = "MOBILEONE_TRUST_PROGRAMS"


def note_written(manifest: Manifest) -> None:
    """Note that this user wrote the artifact on this machine, if it is a program."""
    if not BACKENDS[manifest.format].is_program:
        return
    note = _note(manifest)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    except OSError as error:
        raise ArtifactError(
            f"cannot write {note}: {error.strerror or error}; choose another folder by $MOBILEONE_CACHE"
        ) from error


def require_trust(path: Path, manifest: Manifest) -> None:
    """Refuse to run somebody else's program.

    Raises:
        ArtifactError: if the artifact is a program, was not written here, and the variable is not set to 1.
    """
    kind = BACKENDS[manifest.format]
    if not kind.is_program or os.environ.get(TRUST_VARIABLE) == "1" or _note(manifest).exists():
        return
    raise ArtifactError(
        f"{path} was not written by you on this machine, and a {kind.suffix} file is a program: running it "
        "is running whatever is in it; export the network again, take another format, or, if you trust "
        f"where the file is from, set ${TRUST_VARIABLE}=1"
    )


def _note(manifest: Manifest) -> Path:
    hashes = sorted(record.sha256 for record in manifest.files)
    return cache_dir() / "programs" / hashlib.sha256(" ".join(hashes).encode()).hexdigest()
