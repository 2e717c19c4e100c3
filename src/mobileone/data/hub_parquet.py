"""A split's Parquet files read where they are, on the hub or in a folder: `hf:owner/name?stream=true`.

Their footers and their labels are read at the start, so that a run knows its images before it has read one.
Images are fetched a row group at a time, as Arrow files, into the cache of shards behind URLs
(shard_cache.py): ahead of their use, shared by all processes of a machine, bounded in size.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobileone.data.hub_table import hub_reason
from mobileone.data.shards.remote import FinalError
from mobileone.data.shards.shard_cache import ShardCache
from mobileone.data.shards.shard_source import INDEX_THREADS, OPEN_FILES, lane_order
from mobileone.errors import DataError
from mobileone.outside_text import printable

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetFooter:
    """What is known of a file before its rows are read.

    Attributes:
        url: of the file, with the commit where it is on the hub; or a path.
        size: of the file, bytes.
        stamp: a hash that another content of the file does not have.
        rows: of every row group.
        sizes: of every row group, bytes.
        features: types of the columns.
    """

    url: str
    size: int
    stamp: str
    rows: tuple[int, ...]
    sizes: tuple[int, ...]
    features: Any

    @classmethod
    def read(cls, url: str) -> ParquetFooter:
        """That of a file.

        Raises:
            DataError: if it cannot be read, or is damaged.
        """
        with _plain_errors(url):
            from datasets import Features
            from fsspec.core import url_to_fs

            fs, path = url_to_fs(url)
            info = fs.info(path)
            stamp = hashlib.sha256(repr((url, sorted(info.items(), key=str))).encode()).hexdigest()
            with _opened(url, info["size"]) as file:
                groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
                return cls(
                    url=url,
                    size=info["size"],
                    stamp=stamp,
                    rows=tuple(group.num_rows for group in groups),
                    sizes=tuple(group.total_byte_size for group in groups),
                    features=Features.from_arrow_schema(file.schema_arrow),
                )


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """A column of one row group, or of all of a file, as the cache keeps it: an Arrow file.

    Attributes:
        footer: of the file.
        column: name; of a struct's field, with a dot.
        group: number of the row group; None is all of them.
    """

    footer: ParquetFooter
    column: str
    group: int | None = None

    @property
    def address(self) -> str:
        """The file, and which part of it."""
        where = "" if self.group is None else f", row group {self.group}"
        return f"{printable(self.footer.url)}{where}"

    @property
    def size(self) -> int:
        """About, bytes; columns that are read whole are small."""
        return 0 if self.group is None else self.footer.sizes[self.group]

    @property
    def file_name(self) -> str:
        """By the file's stamp and which part it is."""
        key = repr((self.footer.stamp, self.column, self.group))
        return f"{hashlib.sha256(key.encode()).hexdigest()}.arrow"

    def fetch(self, path: Path, until: float) -> None:
        """Write it there. The hub's library tries again by itself, and has limits of time of its own.

        Raises:
            DataError: if it cannot be read, or is damaged.
        """
        with _plain_errors(self.footer.url):
            import pyarrow.ipc

            with _opened(self.footer.url, self.footer.size) as file:
                every = range(file.num_row_groups) if self.group is None else [self.group]
                table = file.read_row_groups(every, columns=[self.column])
            with pyarrow.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table)


class ParquetTable:
    """A `HubTable` whose files are not on this machine, or need not be.

    Args:
        urls: of the files, in order.
        features: types of the columns; None takes what the files say.
        cache: None is that of shards behind URLs.
    """

    def __init__(self, urls: Sequence[str], *, features: Any = None, cache: ShardCache | None = None) -> None:
        self._urls, self._features, self._given_cache = tuple(urls), features, cache
        self._tables: OrderedDict[tuple[int, str], Any] = OrderedDict()
        self._last_group = -1

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_tables": OrderedDict()}  # every process opens its own

    @cached_property
    def _cache(self) -> ShardCache:
        return self._given_cache or ShardCache()

    @cached_property
    def _footers(self) -> list[ParquetFooter]:
        with ThreadPoolExecutor(INDEX_THREADS) as pool:
            footers = list(pool.map(ParquetFooter.read, self._urls))
        return footers

    @cached_property
    def _groups(self) -> list[tuple[ParquetFooter, int]]:
        """Every row group of all files: footer and number."""
        return [(footer, number) for footer in self._footers for number in range(len(footer.rows))]

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """Number of the first row of every row group, and that of all rows."""
        return np.cumsum([0, *(footer.rows[number] for footer, number in self._groups)], dtype=np.int64)

    @property
    def features(self) -> Mapping[str, Any]:
        """The library's types of the columns, by name."""
        features: Mapping[str, Any] = self._features or self._footers[0].features
        return features

    def __len__(self) -> int:
        return int(self._starts[-1])

    def values(self, column: str) -> list[Any]:
        """All of a small column; no other is read.

        Raises:
            DataError: if a file cannot be read, is damaged, or has no such column of that type.
        """
        feature = self.features[column]
        tables = self._whole(column)
        return [value for table in tables for value in self._cast(table, column, feature)[column].to_pylist()]

    def paths(self, column: str) -> list[str | None]:
        """What the images of a column were called; nothing where a file does not tell."""
        tables = self._whole(f"{column}.path")
        if not all(table.num_columns for table in tables):
            return []
        cells = [cell for table in tables for cell in table.column(0).to_pylist()]
        return [cell["path"] if cell else None for cell in cells]

    def cell(self, column: str, index: int) -> Mapping[str, Any]:
        """An image, its row group fetched if it is not there; nobody's path is followed.

        Raises:
            DataError: if its file cannot be read, is damaged, or has no such column.
        """
        group = self._group_of(index)
        row = int(index) - int(self._starts[group])
        found: Mapping[str, Any] | None = self._table(group, column).column(0)[row].as_py()
        return {"bytes": found["bytes"]} if found else {}

    def epoch_order(self, generator: torch.Generator) -> Tensor:
        """Every row once, int64 (num_rows,), as `lane_order` of the row groups."""
        num_groups = len(self._groups)
        group = np.repeat(np.arange(num_groups), np.diff(self._starts))
        return lane_order(group, num_groups, generator)

    def expect(self, column: str, indices: Sequence[int]) -> None:
        """Begin to fetch the row groups of rows that will be read soon."""
        groups = dict.fromkeys(self._group_of(index) for index in indices)
        self._cache.expect(self._part(group, column) for group in groups)

    def _group_of(self, index: int) -> int:
        return int(np.searchsorted(self._starts, index, side="right")) - 1

    def _part(self, group: int, column: str) -> ParquetPart:
        footer, number = self._groups[group]
        return ParquetPart(footer, column, number)

    def _whole(self, column: str) -> list[Any]:
        parts = [ParquetPart(footer, column) for footer in self._footers if footer.rows]
        with ThreadPoolExecutor(INDEX_THREADS) as pool:
            return list(pool.map(self._load, parts))

    def _table(self, group: int, column: str) -> Any:
        """A row group's images; this process keeps the last ones used open."""
        key = (group, column)
        if key in self._tables:
            self._tables.move_to_end(key)
            return self._tables[key]
        from datasets import Image

        if group == self._last_group + 1 < len(self._groups) - 1:  # read in order, as prediction does
            self._cache.expect([self._part(group + 1, column)])
        table = self._cast(self._load(self._part(group, column)), column, Image(decode=False))
        self._tables[key], self._last_group = table, group
        if len(self._tables) > OPEN_FILES:
            self._tables.popitem(last=False)
        return table

    def _load(self, part: ParquetPart) -> Any:
        """A part, read from the cache's file as it is needed."""
        import pyarrow.ipc

        descriptor = self._cache.open(part)
        try:
            content = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        return pyarrow.ipc.open_file(pyarrow.py_buffer(content)).read_all()

    def _cast(self, table: Any, column: str, feature: Any) -> Any:
        """A column as the type that it should have."""
        from datasets import Features
        from datasets.table import cast_table_to_features

        with _plain_errors(self._urls[0]):
            if table.column_names != [column]:
                raise ValueError(f"a file of this data set has no column {column}")
            return cast_table_to_features(table, Features({column: feature}))


@contextmanager
def _opened(url: str, size: int) -> Iterator[Any]:
    """A Parquet file; only what is asked for is read."""
    from fsspec.core import url_to_fs
    from pyarrow.parquet import ParquetFile

    fs, path = url_to_fs(url)
    with (
        fs.open(path, "rb", size=size, cache_type="none") as stream,
        ParquetFile(stream, pre_buffer=True) as file,
    ):
        yield file


@contextmanager
def _plain_errors(url: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # Arrow's, the library's and the network's, of no common base
        raise FinalError(f"cannot read {printable(url)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is gone"
    return hub_reason(error)
