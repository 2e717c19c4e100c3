"""From results in parts to one file, and the proof that every image is in it once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobileone.atomic import atomic_path, refuse_existing, staging
from mobileone.curation.embeddings import files_of, need_arrow
from mobileone.decision import Decision
from mobileone.errors import ConfigError, DataError, MobileOneError
from mobileone.evaluation.metrics import EvalResult
from mobileone.file_hash import sha256_of_path
from mobileone.outside_text import json_text, printable
from mobileone.parts.data_part import hash_of_names
from mobileone.parts.figures import Figures
from mobileone.parts.parts_manifest import MANIFEST, PartsManifest
from mobileone.parts.result_folder import receipt_path, result_path
from mobileone.parts.row_file import Row, RowFormat, Task, row_writer, rows_in
from mobileone.regular_file import read_json

MAX_NAMED = 3
NAME_HASH_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a folder of results holds: every image of its data once.

    Attributes:
        task: what was done with the images.
        parts: how many.
        images: in all parts.
        unreadable: images among them that could not be decoded; a file of vectors leaves them out.
        output: the file that was written; None where none was asked for.
        result: figures of a test, as `mobileone.evaluate` gives them; None of others.
    """

    task: Task
    parts: int
    images: int
    unreadable: int
    output: str | None = None
    result: EvalResult | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        result = None if self.result is None else self.result.to_dict()
        return asdict(self) | {"result": result}


def merge(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Merged:
    """Prove that every image of a folder's data has one result, and write all results as one file.

    Every part must be there, as its receipt says: the file's hash, the number of images, the hash of their
    names; these must be those of the data where the manifest has them; and no image may be in two parts.

    Args:
        folder: that `predict_parts`, `embed_parts` or `evaluate_parts` wrote.
        output: a .jsonl or .parquet, in the order of the data, or of vectors also a .npy, as of `Embeddings`;
            None proves alone.
        force: overwrite an existing file.
        on_progress: told how many parts are done, of how many.

    Raises:
        ConfigError: on another suffix, or a file that is there already.
        DataError: if it is no such folder, or a part is missing, damaged, not its own, or an image is there
            twice; then nothing is written.
        MissingExtraError: for Parquet without pyarrow.
        MobileOneError: if the file cannot be written.
    """
    source, target = Path(folder), None if output is None else Path(output)
    manifest = PartsManifest.read(source)
    if manifest is None:
        raise DataError(f"{printable(source)} holds no results of parts: it has no {MANIFEST}")
    if target is not None:
        _check_target(target, manifest.task)
        refuse_existing(*files_of(target), force=force)
    _refuse_missing(source, manifest)
    figures = _figures(manifest) if manifest.task == "test" else None
    hashes: list[np.ndarray[Any, np.dtype[np.uint64]]] = []
    unreadable = 0
    with _writer(target, manifest, source) as write:
        for number in range(len(manifest.parts)):
            rows = _part_rows(source, manifest, number)
            hashes.append(_name_hashes(rows))
            unreadable += sum(row.get("error") is not None for row in rows)
            if figures is not None:
                figures.add(rows)
            write(rows)
            on_progress(number + 1, len(manifest.parts))
        _refuse_twice(source, manifest, np.concatenate(hashes))
        # Before the file is in place: a test without a single image is no result.
        result = None if figures is None else figures.result()
    return Merged(
        task=manifest.task,
        parts=len(manifest.parts),
        images=sum(map(len, hashes)),
        unreadable=unreadable,
        output=None if target is None else str(target),
        result=result,
    )


def _figures(manifest: PartsManifest) -> Figures:
    try:
        calibration = manifest.asked["calibration"]
        decision = None if calibration is None else Decision.from_dict(calibration)
        return Figures(manifest.asked["class_names"], decision=decision)
    except (KeyError, TypeError, ConfigError) as error:
        raise DataError(f"its {MANIFEST} is not that of a test ({printable(str(error))[:100]})") from None


def _check_target(target: Path, task: Task) -> None:
    known = [".jsonl", ".parquet", *([".npy"] if task == "embed" else [])]
    if target.suffix not in known:
        raise ConfigError(f"results of {task} are merged to {' or '.join(known)}, got {printable(target)}")
    if target.suffix == ".parquet":
        need_arrow("pyarrow")


def _refuse_missing(source: Path, manifest: PartsManifest) -> None:
    names = [part["name"] for part in manifest.parts]
    there = set(os.listdir(source))
    missing = [name for name in names if result_path(source, manifest, name).name not in there]
    if missing:
        raise DataError(
            f"{printable(source)} is not whole: {len(missing)} of {len(names)} parts are missing, "
            f"{_first(missing)}; give the command that made it again"
        )
    known = {result_path(source, manifest, name).name for name in names}
    strange = sorted(name for name in there if name.endswith((".jsonl", ".parquet")) and name[0] not in "._")
    strange = [name for name in strange if name not in known]
    if strange:
        raise DataError(f"{printable(source)} holds {_first(strange)}, which is no part of it; move it away")


def _part_rows(source: Path, manifest: PartsManifest, number: int) -> list[Row]:
    """The rows of a part that is what its receipt and the manifest say."""
    part = manifest.parts[number]
    path, name = result_path(source, manifest, part["name"]), part["name"]
    again = f"remove {printable(path)} and give the command that made it again"
    try:
        receipt = read_json(receipt_path(source, name))
        if not isinstance(receipt, dict):
            raise ValueError("it is no object")
        if sha256_of_path(path) != receipt.get("sha256"):
            raise DataError(f"{printable(path)} is not as it was written; {again}")
        rows = rows_in(path, manifest.row_format)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"part {name} cannot be read ({printable(str(reason))[:100]}); {again}") from None
    wanted = [values for values in (receipt, part) if "images" in values]
    found = {"images": len(rows), "names_hash": hash_of_names(row["image"] for row in rows)}
    for values in wanted:
        if found["images"] != values["images"]:
            raise DataError(f"part {name} has {found['images']} images of {values['images']}; {again}")
        if found["names_hash"] != values.get("names_hash"):
            raise DataError(f"part {name} has other images than its data; {again}")
    return rows


def _name_hashes(rows: Sequence[Row]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Eight bytes a name: of a hundred million images that is what fits in memory."""
    digests = (hashlib.blake2b(row["image"].encode(), digest_size=NAME_HASH_BYTES).digest() for row in rows)
    return np.frombuffer(b"".join(digests), np.uint64)


def _refuse_twice(
    source: Path, manifest: PartsManifest, hashes: np.ndarray[Any, np.dtype[np.uint64]]
) -> None:
    hashes.sort()
    alike = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if not alike:
        return
    places: dict[str, list[str]] = {}
    for number, part in enumerate(manifest.parts):
        rows = _part_rows(source, manifest, number)
        for row, value in zip(rows, _name_hashes(rows).tolist(), strict=True):
            if value in alike:
                places.setdefault(row["image"], []).append(part["name"])
    twice = {image: parts for image, parts in places.items() if len(parts) > 1}
    if twice:  # else different names have one hash, which a hundred million hardly ever do
        image, parts = next(iter(twice.items()))
        more = f" (and {len(twice) - 1} more images)" if len(twice) > 1 else ""
        raise DataError(f"{printable(image)} is there {len(parts)} times, in {_first(parts)}{more}")


@contextmanager
def _writer(
    target: Path | None, manifest: PartsManifest, source: Path
) -> Iterator[Callable[[Sequence[Row]], None]]:
    if target is None:
        yield lambda rows: None
    elif target.suffix == ".npy":
        with staging(target) as folder:
            try:
                with _vector_writer(folder / target.name, manifest, source) as write:
                    yield write
            except OSError as error:
                raise MobileOneError(f"cannot write {target}: {error.strerror or error}") from error
    else:
        row_format: RowFormat = "parquet" if target.suffix == ".parquet" else "jsonl"
        vectors = manifest.task == "embed"
        with (
            atomic_path(target) as temporary,
            row_writer(temporary, row_format, manifest.task, manifest.told) as write_rows,
        ):
            # A file of vectors has none that are missing.
            yield lambda rows: write_rows([row for row in rows if not (vectors and row["error"])])


@contextmanager
def _vector_writer(
    path: Path, manifest: PartsManifest, source: Path
) -> Iterator[Callable[[Sequence[Row]], None]]:
    """A .npy as large as it will be, filled part by part, with the names in a .json beside it."""
    receipts = [read_json(receipt_path(source, part["name"])) for part in manifest.parts]
    number = sum(receipt["images"] - receipt["unreadable"] for receipt in receipts)
    shape = (number, len(manifest.told["probe"]))
    vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    names: list[str] = []
    labels: list[str | None] = []

    def write(rows: Sequence[Row]) -> None:
        good = [row for row in rows if row["error"] is None]
        if good:
            vectors[len(names) : len(names) + len(good)] = [row["vector"] for row in good]
        names.extend(row["image"] for row in good)
        labels.extend(row["label"] for row in good)

    yield write
    vectors.flush()
    content = {"images": names, "labels": None if None in labels else labels, **manifest.told}
    path.with_name(f"{path.name}.json").write_text(json_text(content) + "\n", encoding="utf-8")


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(map(printable, names[:MAX_NAMED]))
    return f"{shown} and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else shown
