"""Every image once, or no file."""

import json

import pytest

from mobileone.errors import ConfigError, DataError
from mobileone.file_hash import sha256_of_path
from mobileone.parts.data_part import hash_of_names
from mobileone.parts.embed_parts import embed_parts
from mobileone.parts.merge import merge
from mobileone.parts.predict_parts import predict_parts


@pytest.fixture
def out(predictor, make_shards, photos, tmp_path):
    """Results of two shards and two parts of a folder."""
    predict_parts(predictor, [*make_shards(2), str(photos)], tmp_path / "out", part_size=4)
    return tmp_path / "out"


def test_one_file_in_the_order_of_the_data(out, tmp_path):
    merged = merge(out, tmp_path / "all.jsonl")
    assert (merged.parts, merged.images, merged.unreadable) == (4, 13, 0)
    parts = sorted(out.glob("*.jsonl"))
    assert (tmp_path / "all.jsonl").read_bytes() == b"".join(path.read_bytes() for path in parts)
    with pytest.raises(ConfigError, match="exists already"):
        merge(out, tmp_path / "all.jsonl")
    with pytest.raises(ConfigError, match=r"results of predict are merged to \.jsonl or \.parquet, got"):
        merge(out, tmp_path / "all.npy")


def test_the_names_beside_vectors_are_not_overwritten(predictor, photos, tmp_path):
    embed_parts(predictor, photos, tmp_path / "out")
    (tmp_path / "all.npy.json").write_text("mine")
    with pytest.raises(ConfigError, match=r"all\.npy\.json exists already"):
        merge(tmp_path / "out", tmp_path / "all.npy")
    assert [path.name for path in tmp_path.glob("all.*")] == ["all.npy.json"]


def test_formats_can_be_changed(out, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow, an extra")
    merge(out, tmp_path / "all.parquet")
    merge(out, tmp_path / "all.jsonl")
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    assert parquet.read_table(tmp_path / "all.parquet").to_pylist() == [json.loads(line) for line in lines]


def forge(out, name, edit):
    """Change a part's rows, and its receipt with them."""
    path = out / f"{name}.jsonl"
    rows = edit([json.loads(line) for line in path.read_text().splitlines()])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    beside = out / "_receipts" / f"{name}.json"
    values = json.loads(beside.read_text()) | {"sha256": sha256_of_path(path)}
    return beside, values, rows


def test_missing_torn_and_strange_parts_are_named(out, tmp_path):
    target = tmp_path / "all.jsonl"

    def refused(told):
        with pytest.raises(DataError, match=told):
            merge(out, target)
        assert not target.exists()

    shard = out / "000001-001.jsonl"
    content = shard.read_bytes()
    shard.write_bytes(content[:-10])
    refused(r"000001-001\.jsonl is not as it was written; remove")
    shard.unlink()
    refused("is not whole: 1 of 4 parts are missing, 000001-001; give the command")
    shard.write_bytes(content)
    (out / "more.jsonl").write_bytes(content)
    refused(r"holds more\.jsonl, which is no part of it")
    (out / "more.jsonl").unlink()
    receipt = out / "_receipts" / "000001-001.json"
    kept = receipt.read_bytes()
    receipt.unlink()
    refused("part 000001-001 cannot be read")
    receipt.write_bytes(kept)
    assert merge(out, target).images == 13


def test_an_image_that_is_lost_or_there_twice_is_noticed(out):
    beside, values, _ = forge(out, "000002-part-000000", lambda rows: rows[:-1])
    beside.write_text(json.dumps(values))
    with pytest.raises(DataError, match="part 000002-part-000000 has 3 images of 4"):
        merge(out)
    other = json.loads((out / "000000-000.jsonl").read_text().splitlines()[0])
    beside, values, _ = forge(out, "000001-001", lambda rows: [other, *rows[1:]])
    beside.write_text(json.dumps(values))
    with pytest.raises(DataError, match="part 000001-001 has other images than its data"):
        merge(out)


def test_an_image_in_two_parts_is_named(out):
    other = json.loads((out / "000000-000.jsonl").read_text().splitlines()[0])
    beside, values, rows = forge(out, "000001-001", lambda rows: [other, *rows[1:]])
    values["names_hash"] = hash_of_names(row["image"] for row in rows)
    beside.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"000\.tar: 0-0\.jpg is there 2 times, in 000000-000, 000001-001"):
        merge(out)


def test_what_is_no_folder_of_results(tmp_path):
    with pytest.raises(DataError, match=r"holds no results of parts: it has no _manifest\.json"):
        merge(tmp_path)
