"""A split of a data set as the hub's library knows it: columns of known types, images by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mobileone.outside_text import printable


class HubTable(Protocol):
    """What images and labels are taken from."""

    @property
    def features(self) -> Mapping[str, Any]:
        """The library's types of the columns, by name."""

    def __len__(self) -> int: ...

    def values(self, column: str) -> list[Any]:
        """All of a small column."""

    def paths(self, column: str) -> list[str | None]:
        """What the images of a column were called; None, or nothing at all, where that is not kept."""

    def cell(self, column: str, index: int) -> Mapping[str, Any]:
        """An image: its `bytes`, its `path`, or neither."""

    @property
    def places(self) -> Sequence[Path]:
        """Folders that paths may lead into; any other is not followed."""


class ArrowTable:
    """A split that the library has downloaded, or wrote.

    Args:
        table: the library's data set.
        places: folders that paths in it may lead into.
    """

    def __init__(self, table: Any, *, places: Sequence[Path] = ()) -> None:
        self._table, self.places = table, places
        self._images: dict[str, Any] = {}

    @property
    def features(self) -> Mapping[str, Any]:
        """The library's types of the columns, by name."""
        features: Mapping[str, Any] = self._table.features
        return features

    def __len__(self) -> int:
        return len(self._table)

    def values(self, column: str) -> list[Any]:
        """All of a column."""
        return list(self._table.with_format(None)[column])

    def paths(self, column: str) -> list[str | None]:
        """What the images of a column were called, as far as that is kept."""
        found: list[str | None] = []
        if self._table._indices is None:
            for chunk in self._encoded(column).data.column(column).chunks:
                found += chunk.field("path").to_pylist()
        return found

    def cell(self, column: str, index: int) -> Mapping[str, Any]:
        """An image: its `bytes`, its `path`, or neither."""
        cell: Mapping[str, Any] | None = self._encoded(column)[int(index)][column]
        return cell or {}

    def _encoded(self, column: str) -> Any:
        """A column of images alone, not decoded."""
        if column not in self._images:
            from datasets import Image

            self._images[column] = self._table.select_columns([column]).cast_column(
                column, Image(decode=False)
            )
        return self._images[column]


def hub_reason(error: Exception) -> str:
    """Why the hub's library could not give something, in one line.

    >>> hub_reason(ValueError("Dataset a/b is a gated dataset on the Hub."))
    'it is gated; accept its terms on the hub and set HF_TOKEN'
    """
    text, kind = first_line(error), {each.__name__ for each in type(error).__mro__}
    if "gated" in text or "GatedRepoError" in kind:
        return "it is gated; accept its terms on the hub and set HF_TOKEN"
    if "Config name is missing" in text or "BuilderConfig" in text:
        return f"{text}; name one by ?config=NAME"
    if kind & {"DatasetNotFoundError", "RepositoryNotFoundError"}:
        return "no such data set, or it is private; if so, set HF_TOKEN"
    if kind & {"OfflineModeIsEnabled", "ConnectionError", "ConnectError", "TimeoutException"}:
        return f"the hub is out of reach ({text})"
    return text


def first_line(error: Exception) -> str:
    """What an error says, in one printable line of at most 250 characters.

    >>> first_line(ValueError("no\\n route"))
    'no route'
    """
    return printable(" ".join(str(error).split()))[:250] or type(error).__name__
