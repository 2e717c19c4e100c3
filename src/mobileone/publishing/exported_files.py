"""Exported files that go out with a model: which there are, and that they are of this very model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mobileone.backends.manifest import Manifest, manifest_path, read_manifest
from mobileone.backends.table import backend_of
from mobileone.errors import ArtifactError, PublishError
from mobileone.outside_text import printable


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """An exported file and its manifest, which has been checked against it."""

    path: Path
    manifest: Manifest


def exported_in(folder: Path) -> list[Path]:
    """Exported files with a manifest that lie in a folder, by name."""
    return sorted(
        path for path in folder.iterdir() if backend_of(path) is not None and manifest_path(path).is_file()
    )


def check_exported(
    paths: Iterable[str | os.PathLike[str]], *, weights_sha256: str, reserved: Sequence[str]
) -> tuple[ExportedFile, ...]:
    """Read every manifest, and hold it against its files and against the model.

    Args:
        paths: exported files.
        weights_sha256: of the model's fused weights, as manifests have it.
        reserved: names in the repository that are taken.

    Raises:
        ArtifactError: if a file is no exported network, or not the one that its manifest describes.
        PublishError: if it was exported from other weights, or two files have one name.
    """
    found: list[ExportedFile] = []
    taken = set(reserved)
    for path in map(Path, paths):
        try:
            manifest = read_manifest(path)
        except ArtifactError as error:
            raise ArtifactError(f"{error}; or leave it out") from error
        if manifest.weights_sha256 != weights_sha256:
            raise PublishError(
                f"{path} was exported from other weights than the model's; export it again, or remove it "
                "from what is pushed"
            )
        names = {manifest_path(path).name, *(record.name for record in manifest.files)}
        if twice := sorted(names & taken):
            raise PublishError(
                f"two files would be called {printable(twice[0])}; rename {path}, and export again"
            )
        taken |= names
        found.append(ExportedFile(path, manifest))
    return tuple(found)


def copy_exported(files: Iterable[ExportedFile], folder: Path, *, source: str) -> None:
    """Put exported files into a folder; their manifests name `source`, not where the model lay here."""
    for each in files:
        for record in each.manifest.files:
            target = folder / record.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each.path.parent / record.name, target)
        replace(each.manifest, source=source).write(folder / manifest_path(each.path).name)
