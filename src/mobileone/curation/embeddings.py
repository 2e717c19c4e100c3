"""Vectors of images with their names, in a file: .npy with a .json beside it, or .parquet."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileone.atomic import atomic_path, staging
from mobileone.errors import ConfigError, DataError, MissingExtraError
from mobileone.outside_text import json_text
from mobileone.regular_file import open_regular, read_json

SUFFIXES = (".npy", ".parquet")
METADATA_KEY = b"mobileone"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embeddings:
    """Pooled features of images, as a network gives them: not normalised.

    Attributes:
        vectors: float32 (N, D).
        names: N, paths below the folder where there is one.
        labels: class name of each; None where the images have no classes.
        folder: where the images are; empty where they are in none.
        model: what computed them, in words.
        probe: the vector of a picture that is always the same, by which another network is noticed, (D,).

    Raises:
        DataError: if the parts do not fit together, or a number is not finite.
    """

    vectors: NDArray[np.float32]
    names: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    folder: str = ""
    model: str = ""
    probe: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.dtype != np.float32:
            raise DataError(f"vectors must be float32 (N, D), got {self.vectors.dtype} {self.vectors.shape}")
        if not np.isfinite(self.vectors).all():
            raise DataError("a vector has NaN or infinite values; the network or its precision is no use")
        if len(self.names) != len(self.vectors) or len(self.labels or self.names) != len(self.names):
            raise DataError(f"{len(self.vectors)} vectors with {len(self.names)} names do not fit together")
        if self.probe.shape not in ((0,), self.vectors.shape[1:]):
            raise DataError(f"the probe has {self.probe.shape} values, the vectors {self.vectors.shape[1]}")

    def __len__(self) -> int:
        return len(self.names)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """To a .npy, its names in NAME.npy.json beside it, or to a .parquet; whole or not at all.

        Raises:
            ConfigError: on another suffix.
            MissingExtraError: for .parquet without pyarrow.
            MobileOneError: if it cannot be written.
        """
        target = Path(path)
        check_suffix(target)
        told = {"folder": self.folder, "model": self.model, "probe": self.probe.tolist()}
        if target.suffix == ".parquet":
            self._write_parquet(target, told)
            return target
        with staging(target) as folder:
            np.save(folder / target.name, self.vectors, allow_pickle=False)
            content = {"images": list(self.names), "labels": self.labels and list(self.labels), **told}
            (folder / f"{target.name}.json").write_text(json_text(content) + "\n", encoding="utf-8")
        return target

    def _write_parquet(self, target: Path, told: dict[str, Any]) -> None:
        arrow, parquet = need_arrow("pyarrow"), need_arrow("pyarrow.parquet")
        values = arrow.array(self.vectors.ravel())
        columns = {
            "image": arrow.array(list(self.names), arrow.string()),
            "label": arrow.array(list(self.labels or [None] * len(self)), arrow.string()),
            "vector": arrow.FixedSizeListArray.from_arrays(values, self.vectors.shape[1]),
        }
        table = arrow.table(columns).replace_schema_metadata({METADATA_KEY: json_text(told)})
        with atomic_path(target) as temporary:
            parquet.write_table(table, temporary)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Embeddings:
        """What `write` wrote.

        Raises:
            ConfigError: on another suffix.
            DataError: if it is not there, or no such file.
            MissingExtraError: for .parquet without pyarrow.
        """
        source = Path(path)
        check_suffix(source)
        try:
            return _read_parquet(source) if source.suffix == ".parquet" else _read_numpy(source)
        except MissingExtraError:
            raise
        except Exception as error:  # NumPy's and Arrow's parsers raise what theirs raise
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
            names = f", or {source.name}.json none of their names" if source.suffix == ".npy" else ""
            raise DataError(f"{source} holds no vectors of mobileone embed{names}: {reason}") from error


def check_suffix(path: Path) -> None:
    """Refuse another kind of file.

    Raises:
        ConfigError: then.
        MissingExtraError: for .parquet without pyarrow.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"vectors are kept in {' or '.join(SUFFIXES)}, got {path}")
    if path.suffix == ".parquet":
        need_arrow("pyarrow")


def files_of(path: Path) -> tuple[Path, ...]:
    """What is written for a path: beside a .npy its names, in NAME.npy.json."""
    return (path, path.with_name(f"{path.name}.json")) if path.suffix == ".npy" else (path,)


def _read_numpy(source: Path) -> Embeddings:
    open_regular(source).close()
    # Mapped first: a file is as large as its header says, or refused, before memory is taken for it.
    vectors = np.array(np.load(source, mmap_mode="r", allow_pickle=False))
    content = read_json(source.with_name(f"{source.name}.json"))
    return _embeddings(vectors, content["images"], content["labels"], content)


def _read_parquet(source: Path) -> Embeddings:
    parquet = need_arrow("pyarrow.parquet")
    with open_regular(source) as file:
        table = parquet.read_table(file)
    # A part of a large set (`embed_parts`) has a row for an image that could not be read, without a vector.
    table = table.filter(table.column("vector").is_valid())
    told = json.loads((table.schema.metadata or {})[METADATA_KEY])
    column = table.column("vector").combine_chunks()
    size = column.type.list_size
    vectors = np.asarray(column.flatten()).reshape(-1, size)
    labels = table.column("label").to_pylist()
    return _embeddings(vectors, table.column("image").to_pylist(), None if None in labels else labels, told)


def _embeddings(vectors: NDArray[Any], names: Any, labels: Any, told: dict[str, Any]) -> Embeddings:
    texts = [*names, *(labels or ()), told["folder"], told["model"]]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a name in it is no text")
    return Embeddings(
        vectors=vectors,
        names=tuple(names),
        labels=None if labels is None else tuple(labels),
        folder=told["folder"],
        model=told["model"],
        probe=np.array(told["probe"], np.float32),
    )


def need_arrow(module: str) -> Any:
    """A module of pyarrow.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            "Parquet files need pyarrow, which is not installed; pip install 'mobileone[parquet]', "
            "or take .npy"
        ) from error
