"""A folder of results: a file a part, each whole, with a receipt; and a manifest that says of what they are.

    out/_manifest.json      the model's hash, what was asked, the data, the parts
    out/NAME.jsonl          the results of a part, or NAME.parquet
    out/_receipts/NAME.json how many images they are, of which names, and the file's hash
    out/_claims             empty; its locks say which part is in work

Readers of Parquet and the like pass over names that begin with an underscore or a dot.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from mobileone.atomic import atomic_path, leftovers
from mobileone.errors import ConfigError, DataError, MobileOneError
from mobileone.file_hash import sha256_of_path
from mobileone.outside_text import json_text, printable
from mobileone.parts.claims import Claim, Claims
from mobileone.parts.data_part import DataPart, hash_of_names
from mobileone.parts.parts_manifest import MANIFEST, PartsManifest
from mobileone.parts.row_file import Row, check_row_format, row_writer

RECEIPTS, CLAIMS = "_receipts", "_claims"


class ResultFolder:
    """A folder that results are written to, part by part, by any number of processes.

    Args:
        path: of the folder; it is made.
        manifest: what the results will be of.

    Raises:
        ConfigError: if the folder holds results of something else, or anything but results.
        MobileOneError: if it cannot be written.

    Attributes:
        claims: who is at work on which part.
    """

    def __init__(self, path: str | os.PathLike[str], manifest: PartsManifest) -> None:
        check_row_format(manifest.row_format)
        self.path = Path(path)
        self.manifest = manifest.as_read()
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{printable(self.path)} is a file; results of parts need a folder")
        before = PartsManifest.read(self.path)
        if before is None:
            self._refuse_foreign()
        else:
            self._refuse_other(before)
        try:
            (self.path / RECEIPTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MobileOneError(f"cannot write {self.path}: {error.strerror or error}") from error
        self.claims = Claims(self.path / CLAIMS)
        with self.claims.setting_up():
            before = PartsManifest.read(self.path)
            if before is not None:
                self._refuse_other(before)
            else:
                for path in self.path.glob(f".{MANIFEST}.*"):
                    path.unlink(missing_ok=True)
                with atomic_path(self.path / MANIFEST) as temporary:
                    temporary.write_text(json_text(manifest.to_dict()) + "\n", encoding="utf-8")
        self._clear()

    def result(self, name: str) -> Path:
        """Where a part's results are once they are whole."""
        return result_path(self.path, self.manifest, name)

    def is_done(self, part: DataPart) -> bool:
        """Whether a part's results are there, whole.

        Raises:
            DataError: if there are results that nobody gave a receipt for.
        """
        if not self.result(part.name).exists():
            return False
        if not receipt_path(self.path, part.name).exists():
            raise DataError(
                f"{self.result(part.name)} has no receipt in {RECEIPTS}, so it is not from here; remove it "
                "to have it done"
            )
        return True

    def write(self, part: DataPart, rows: Iterable[Sequence[Row]]) -> int:
        """Write a part's results, and then have them there; how many images they are of.

        Args:
            part: that this process has claimed.
            rows: in the order of its images, some at a time; an error from them leaves nothing behind.

        Raises:
            MobileOneError: if they cannot be written.
        """
        started = time.monotonic()
        names: list[str] = []
        bad = 0
        with atomic_path(self.result(part.name)) as temporary:
            task, told = self.manifest.task, self.manifest.told
            with row_writer(temporary, self.manifest.row_format, task, told) as write:
                for some in rows:
                    write(some)
                    names += [row["image"] for row in some]
                    bad += sum(row["error"] is not None for row in some)
            receipt = {
                "where": part.where,
                "images": len(names),
                "unreadable": bad,
                "names_hash": hash_of_names(names),
                "sha256": sha256_of_path(temporary),
                "seconds": round(time.monotonic() - started, 3),
            }
            # Before the results: without them it means nothing, while they count only with it.
            with atomic_path(receipt_path(self.path, part.name)) as beside:
                beside.write_text(json_text(receipt) + "\n", encoding="utf-8")
        return len(names)

    def _refuse_other(self, before: PartsManifest) -> None:
        if (why := before.difference(self.manifest)) is not None:
            raise ConfigError(f"{printable(self.path)}: {why}; give another folder, or what it was made with")

    def _refuse_foreign(self) -> None:
        ours = {RECEIPTS, CLAIMS}  # of a process that is about to write the manifest
        found = sorted(os.listdir(self.path)) if self.path.is_dir() else []
        strange = [name for name in found if name not in ours and not name.startswith(f".{MANIFEST}.")]
        # Read again: another process may have begun since.
        if strange and PartsManifest.read(self.path) is None:
            raise ConfigError(
                f"{printable(self.path)} holds {printable(strange[0])} and no results of parts; give an "
                "empty folder, or one that is not there"
            )

    def _clear(self) -> None:
        """Remove what processes that are gone left half written."""
        if not self.claims.work:
            return
        numbers = {part["name"]: number for number, part in enumerate(self.manifest.parts)}
        for folder, suffix in ((self.path, f".{self.manifest.row_format}"), (self.path / RECEIPTS, ".json")):
            for path in leftovers(folder):
                name = path.name[1:].partition(".unfinished-")[0].removesuffix(suffix)
                if (number := numbers.get(name)) is None:
                    continue
                if (claim := self.claims.take(number)) is not Claim.BUSY:
                    path.unlink(missing_ok=True)
                if claim is Claim.TAKEN:
                    self.claims.release(number)


def result_path(folder: Path, manifest: PartsManifest, name: str) -> Path:
    """Of a part's results."""
    return folder / f"{name}.{manifest.row_format}"


def receipt_path(folder: Path, name: str) -> Path:
    """Of a part's receipt."""
    return folder / RECEIPTS / f"{name}.json"
