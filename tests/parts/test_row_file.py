"""Rows, written and read in both formats."""

import pytest

from mobileone.curation.embeddings import Embeddings
from mobileone.errors import ConfigError, DataError
from mobileone.parts.row_file import check_row_format, row_writer, rows_in

SCORE = {"index": 1, "class_name": "dog", "name": "Hund, é", "probability": 0.25}
ROWS = {
    "predict": [
        {"image": "a", "scores": [SCORE], "error": None, "labels": None, "sure": True, "doubt": None},
        {"image": "b", "scores": [], "error": "no image", "labels": [], "sure": None, "doubt": None},
    ],
    "embed": [
        {"image": "a", "label": "cat", "vector": [0.5, 1.5], "error": None},
        {"image": "b", "label": None, "vector": [2.0, 0.0], "error": None},
    ],
    "test": [
        {"image": "a", "label": 1, "predicted": 1, "place": 0, "loss": 0.1, "sure": None, "error": None}
    ],
}
TOLD = {"folder": "", "model": "m", "probe": [1.0, 2.0]}


@pytest.mark.parametrize("task", ROWS)
@pytest.mark.parametrize("row_format", ["jsonl", "parquet"])
def test_rows_come_back(tmp_path, task, row_format):
    if row_format == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, an extra")
    path = tmp_path / "rows"
    with row_writer(path, row_format, task, TOLD) as write:
        for row in ROWS[task]:
            write([row])
    found = rows_in(path, row_format)
    assert [{name: row[name] for name in ROWS[task][0]} for row in found] == ROWS[task]


def test_a_parquet_part_is_a_file_of_vectors(tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, an extra")
    path = tmp_path / "v.parquet"
    with row_writer(path, "parquet", "embed", TOLD) as write:
        write(ROWS["embed"])
    vectors = Embeddings.read(path)
    assert (vectors.names, vectors.probe.tolist()) == (("a", "b"), [1.0, 2.0])


@pytest.mark.parametrize("content", [b'{"image": "a"\n', b"[1]\n", b'{"name": "a"}\n', b"\xff\n"])
def test_what_holds_no_results(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="x holds no results"):
        rows_in(tmp_path / "x", "jsonl")
    if pytest.importorskip("pyarrow"):
        with pytest.raises(DataError, match="x holds no results"):
            rows_in(tmp_path / "x", "parquet")


def test_another_format():
    with pytest.raises(ConfigError, match="results are written as jsonl or parquet, got 'csv'"):
        check_row_format("csv")
