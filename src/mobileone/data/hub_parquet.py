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
        metadata: the footer itself, pyarrow's: with it every part of the file is one request.
    """

    url: str
    size: int
    stamp: str
    metadata: Any

    @classmethod
    def read(cls, url: str) -> ParquetFooter:
        """That of a file.

        Raises:
            DataError: if it cannot be read, or is damaged.
        """
        with _plain_errors(url):
            from fsspec.core import url_to_fs

            fs, path = url_to_fs(url)
            info = fs.info(path)
            stamp = hashlib.sha256(repr((url, sorted(info.items(), key=str))).encode()).hexdigest()
            with _opened(url, info["size"]) as file:
                return cls(url=url, size=info["size"], stamp=stamp, metadata=file.metadata)


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """Columns of one row group, or of all of a file, as the cache keeps them: an Arrow file.

    Attributes:
        footer: of the file.
        columns: names; of a struct's field, with a dot. Those that there are not are left out.
        group: number of the row group; None is all of them.
    """

    footer: ParquetFooter
    columns: tuple[str, ...]
    group: int | None = None

    @property
    def address(self) -> str:
        """The file, and which part of it."""
        where = "" if self.group is None else f", row group {self.group}"
        return f"{printable(self.footer.url)}{where}"

    @property
    def size(self) -> int:
        """About, bytes; columns that are read whole are small."""
        if self.group is None:
            return 0
        size: int = self.footer.metadata.row_group(self.group).total_byte_size
        return size

    @property
    def file_name(self) -> str:
        """By the file's stamp and which part it is."""
        key = repr((self.footer.stamp, self.columns, self.group))
        return f"{hashlib.sha256(key.encode()).hexdigest()}.arrow"

    def fetch(self, path: Path, until: float) -> None:
        """Write it there. The hub's library tries again by itself, and has limits of time of its own.

        Raises:
            DataError: if it cannot be read, or is damaged.
        """
        with _plain_errors(self.footer.url):
            import pyarrow.ipc

            with _opened(self.footer.url, self.footer.size, self.footer.metadata) as file:
                every = range(file.num_row_groups) if self.group is None else [self.group]
                table = file.read_row_groups(every, columns=list(self.columns))
            with pyarrow.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table)


class ParquetTable:
    """A `HubTable` whose files are not on this machine, or need not be.

    Args:
        urls: of the files, in order.
        features: types of the columns; None takes what the files say.
        cache: None is that of shards behind URLs.
    """

    places: Sequence[Path] = ()

    def __init__(self, urls: Sequence[str], *, features: Any = None, cache: ShardCache | None = None) -> None:
        self._urls, self._features, self._given_cache = tuple(urls), features, cache
        self._tables: OrderedDict[tuple[int, str], Any] = OrderedDict()
        self._last_group = -1
        self._small: tuple[str, ...] = ()

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
        return [(each, number) for each in self._footers for number in range(each.metadata.num_row_groups)]

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """Number of the first row of every row group, and that of all rows."""
        rows = (footer.metadata.row_group(number).num_rows for footer, number in self._groups)
        return np.cumsum([0, *rows], dtype=np.int64)

    @cached_property
    def features(self) -> Mapping[str, Any]:
        """The library's types of the columns, by name."""
        from datasets import Features

        with _plain_errors(self._urls[0]):
            features: Mapping[str, Any] = self._features or Features.from_arrow_schema(
                self._footers[0].metadata.schema.to_arrow_schema()
            )
            return features

    def __len__(self) -> int:
        return int(self._starts[-1])

    def values(self, column: str) -> list[Any]:
        """All of a small column. In the same requests comes what the images are called, which lies beside it.

        Raises:
            DataError: if a file cannot be read, is damaged, or has no such column of that type.
        """
        from datasets import Image

        feature = self.features[column]
        named = (f"{name}.path" for name, kind in self.features.items() if isinstance(kind, Image))
        self._small = (column, *named)
        columns = [self._cast(table, column, feature) for table in self._whole(self._small)]
        return [value for each in columns for value in each.column(0).to_pylist()]

    def paths(self, column: str) -> list[str | None]:
        """What the images of a column were called; nothing where a file does not tell."""
        own = f"{column}.path"
        tables = self._whole(self._small if own in self._small else (own,))
        if not all(column in table.column_names for table in tables):
            return []
        cells = [cell for table in tables for cell in table[column].to_pylist()]
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
        return ParquetPart(footer, (column,), number)

    def _whole(self, columns: tuple[str, ...]) -> list[Any]:
        parts = [ParquetPart(footer, columns) for footer in self._footers if footer.metadata.num_rows]
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
            if column not in table.column_names:
                raise ValueError(f"a file of this data set has no column {column}")
            return cast_table_to_features(table.select([column]), Features({column: feature}))


@contextmanager
def _opened(url: str, size: int, metadata: Any = None) -> Iterator[Any]:
    """A Parquet file; only what is asked for is read, and its footer if that is not known."""
    from fsspec.core import url_to_fs
    from pyarrow.parquet import ParquetFile

    fs, path = url_to_fs(url)
    with (
        fs.open(path, "rb", size=size, cache_type="none") as stream,
        ParquetFile(stream, metadata=metadata, pre_buffer=True) as file,
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
