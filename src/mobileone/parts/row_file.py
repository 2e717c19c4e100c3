"""Results in files, a row an image: JSON lines, or Parquet, where pyarrow is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from mobileone.curation.embeddings import METADATA_KEY, need_arrow
from mobileone.errors import ConfigError, DataError
from mobileone.outside_text import json_text, printable
from mobileone.regular_file import open_regular, parse_json_text

Task = Literal["predict", "embed", "test"]
RowFormat = Literal["jsonl", "parquet"]
Row = dict[str, Any]


def check_row_format(name: str) -> None:
    """Refuse another one.

    Raises:
        ConfigError: then.
        MissingExtraError: for Parquet without pyarrow.
    """
    if name not in get_args(RowFormat):
        raise ConfigError(f"results are written as {' or '.join(get_args(RowFormat))}, got {name!r}")
    if name == "parquet":
        need_arrow("pyarrow")


@contextmanager
def row_writer(
    path: Path, row_format: RowFormat, task: Task, told: Mapping[str, Any]
) -> Iterator[Callable[[Sequence[Row]], None]]:
    """A function that takes rows, any number of times.

    Args:
        path: of the file.
        row_format: how it is written.
        task: what the rows are of.
        told: what else a Parquet file of vectors says of them, as `Embeddings` does.
    """
    if row_format == "jsonl":
        with path.open("w", encoding="utf-8") as file:
            yield lambda rows: file.writelines(f"{json_text(row)}\n" for row in rows)
        return
    arrow, parquet = need_arrow("pyarrow"), need_arrow("pyarrow.parquet")
    schema = _schema(arrow, task, told)
    with parquet.ParquetWriter(path, schema) as writer:
        yield lambda rows: writer.write_table(arrow.Table.from_pylist(rows, schema=schema))


def rows_in(path: Path, row_format: RowFormat) -> list[Row]:
    """Every row of a file.

    Raises:
        DataError: if it is none of ours, or damaged.
        OSError: if it cannot be read.
    """
    with open_regular(path) as file:
        try:
            if row_format == "jsonl":
                rows = [parse_json_text(line) for line in file]
            else:
                rows = need_arrow("pyarrow.parquet").read_table(file).to_pylist()
            if not all(isinstance(row, dict) and isinstance(row.get("image"), str) for row in rows):
                raise ValueError("a row names no image")
        except (ValueError, OSError) as error:  # Arrow's own errors are ValueErrors and OSErrors
            reason = " ".join(str(error).split())[:100]
            raise DataError(f"{printable(path)} holds no results ({printable(reason)})") from None
    return rows


def _schema(arrow: Any, task: Task, told: Mapping[str, Any]) -> Any:
    text = arrow.string()
    if task == "predict":
        score = arrow.struct(
            {"index": arrow.int32(), "class_name": text, "name": text, "probability": arrow.float32()}
        )
        columns = {
            "image": text,
            "scores": arrow.list_(score),
            "error": text,
            "labels": arrow.list_(text),
            "sure": arrow.bool_(),
            "doubt": text,
        }
    elif task == "embed":
        vector = arrow.list_(arrow.float32(), len(told["probe"]))
        columns = {"image": text, "label": text, "vector": vector, "error": text}
    else:
        columns = {
            "image": text,
            "label": arrow.int32(),
            "labels": arrow.list_(arrow.int32()),
            "predicted": arrow.int32(),
            "place": arrow.int32(),
            "loss": arrow.float64(),
            "sure": arrow.bool_(),
            "logits": arrow.list_(arrow.float32()),
            "error": text,
        }
    schema = arrow.schema(list(columns.items()))
    return schema.with_metadata({METADATA_KEY: json_text(told)}) if task == "embed" else schema
