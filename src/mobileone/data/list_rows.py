"""The rows of a list of images: a table in CSV, a JSON list of objects, or an object a line (JSONL)."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mobileone.data.layout import TESTING, VALIDATION
from mobileone.errors import DataError
from mobileone.limits import JSON_BYTES
from mobileone.outside_text import printable
from mobileone.regular_file import parse_json_text, read_regular
from mobileone.task import Task

LIST_SUFFIXES = (".csv", ".json", ".jsonl")
SEPARATOR = ";"
"""Between the labels of a cell of a CSV table."""

LABEL_COLUMNS: Mapping[str, Task] = {"label": "singlelabel", "labels": "multilabel"}
COLUMNS = ("image", *LABEL_COLUMNS, "split", "group")


class ListRow(NamedTuple):
    """One image of a list.

    Attributes:
        place: where in the file it stands, for messages: `line 3`, or `entry 3` of a JSON list.
        image: its path as the list has it.
        labels: names, none of them twice.
        split: of `SPLIT_NAMES`; None where the list has no such column.
        group: what it belongs to; None where the list has no such column.
        name: what the data folder calls it, where a run's record of its split says so.
    """

    place: str
    image: str
    labels: tuple[str, ...]
    split: str | None
    group: str | None
    name: str | None = None


def is_list(data: str | Path) -> bool:
    """Whether a data argument is a list of images: a file, there or not, that is called like one.

    >>> is_list("photos.csv"), is_list("photos"), is_list("digits")
    (True, False, False)
    """
    return str(data).lower().endswith(LIST_SUFFIXES) and not os.path.isdir(data)


def read_rows(path: str | Path) -> tuple[list[ListRow], Task]:
    """Every row, and what the list is by the name of its column: `label` or `labels`.

    Raises:
        DataError: if it cannot be read, lacks a column, has no rows, or a row is none: without an image,
            without a label where each has one, with an empty label, one that is there twice, or an unknown
            split.
    """
    shown, entries = _read_entries(path)
    columns = list(dict.fromkeys(name for _, values in entries for name in values))
    named = [name for name in LABEL_COLUMNS if name in columns]
    if "image" not in columns or len(named) != 1:
        found = ", ".join(printable(str(name)) for name in columns[:8]) or "none"
        raise DataError(
            f"the list {shown} has the columns {found}; it needs image, and either label (one a row) or "
            f"labels (any number, separated by {SEPARATOR}), and may have split and group; a cell ends "
            "with a comma"
        )
    task = LABEL_COLUMNS[named[0]]
    rows = []
    for place, values in entries:
        try:
            rows.append(_row(place, values, named[0], columns))
        except ValueError as error:
            raise DataError(f"{shown}, {place}: {error}") from None
    return rows, task


def read_image_paths(path: str | Path) -> list[str]:
    """The images of a list, labelled or not, from the folder where the list is.

    Raises:
        DataError: if it cannot be read, has no rows, or a row names no image.
    """
    shown, entries = _read_entries(path)
    images = []
    for place, values in entries:
        image = values.get("image")
        if not _is_path(image):
            raise DataError(f"{shown}, {place}: it names no image; the list needs a column image")
        images.append(os.path.join(os.path.dirname(path), str(image)))
    return images


def _read_entries(path: str | Path) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """The list's name for messages, and place and values of every row; at least one."""
    shown = printable(path)
    try:
        content = read_regular(path, JSON_BYTES)
        entries = list(_entries(content, Path(path).suffix.lower()))
    except OSError as error:
        raise DataError(f"cannot read the list {shown}: {error.strerror or error}") from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"the list {shown} cannot be read: {printable(str(error))[:200]}") from None
    if not entries:
        raise DataError(f"the list {shown} has no rows; give an image a row")
    return shown, entries


def _is_path(image: object) -> bool:
    return isinstance(image, str) and bool(image.strip()) and "\0" not in image


def _entries(content: bytes, suffix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and values of every row."""
    if suffix == ".csv":
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        twice = next((name for name in COLUMNS if reader.fieldnames.count(name) > 1), None)
        if twice:
            raise ValueError(f"it has two columns {twice}; leave one of them out")
        for row in reader:
            place = f"line {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(
                    f"{place} has more or fewer cells than the first line; quote cells with commas"
                )
            yield place, {name: value.strip() for name, value in row.items()}
        return
    if suffix == ".json":
        values = parse_json_text(content.removeprefix(b"\xef\xbb\xbf"))
        if not isinstance(values, list):
            raise ValueError("it must hold a list of objects")
        entries = [(f"entry {number}", value) for number, value in enumerate(values, start=1)]
    else:
        lines = content.decode("utf-8-sig").split("\n")
        entries = [
            (f"line {number}", parse_json_text(line))
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
    for place, value in entries:
        if not isinstance(value, dict):
            raise ValueError(f"{place} is no object with image and labels")
        yield place, value


def _row(place: str, values: Mapping[str, Any], label_column: str, columns: list[str]) -> ListRow:
    image = values.get("image")
    if not _is_path(image):
        raise ValueError("it names no image")
    labels = _labels(values.get(label_column), several=label_column == "labels")
    split = _text(values, "split", columns)
    if split is not None and split.lower() not in ("train", *VALIDATION, *TESTING):
        known = ", ".join(("train", *VALIDATION, *TESTING))
        raise ValueError(f"its split is {printable(split)[:40]!r}; it must be one of {known}")
    group = _text(values, "group", columns)
    name = values.get("name")
    name = name if isinstance(name, str) else None
    return ListRow(place, str(image), labels, split and split.lower(), group, name)


def _labels(value: object, *, several: bool) -> tuple[str, ...]:
    if isinstance(value, str):
        if several and not value.strip():
            return ()
        value = [name.strip() for name in value.split(SEPARATOR)] if several else [value]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(
            "its labels are missing, or no text" if several else "its label is missing, or no text"
        )
    names = tuple(value)
    if not all(name.strip() for name in names):
        raise ValueError("it has an empty label")
    if not several and len(names) != 1:
        raise ValueError(f"it has {len(names)} labels; a list with several has them in a column labels")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"it has the label {printable(twice)} twice")
    return names


def _text(values: Mapping[str, Any], name: str, columns: list[str]) -> str | None:
    if name not in columns:
        return None
    value = values.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"its {name} is empty; fill the column, or leave it out")
    return value
