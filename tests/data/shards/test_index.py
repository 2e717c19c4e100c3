"""Indexes: there and back, and what is refused."""

import json
import random

import pytest

from mobileone.data.shards.index import ShardIndex
from mobileone.errors import DataError, MobileOneError


@pytest.fixture
def text(written):
    return (written / "train-000001.json").read_text()


def test_an_index_survives_the_way_through_text(text):
    index = ShardIndex.from_json(text, name="x.json")
    assert index.to_json() == text
    assert (index.split, index.number, index.shards) == ("train", 1, {"train": 5, "val": 2})
    assert len(index) == len(index.names) == 8
    assert index.classes == ("cat", "dog", "dog-b")


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("format", "mobileone-shard-0", "format"),
        ("split", "test", "split"),
        ("number", 5, "number 5 of 5"),
        ("shards", {"train": 10**12}, "more shards than 100000"),
        ("number", -1, "whole numbers"),
        ("shards", {"train": 5, "test": 1}, "shards"),
        ("tar_bytes", 600, "outside"),
        ("ids", [0] * 8, "unique"),
        ("ids", [0], "differ in length"),
        ("labels", [3] * 8, "below 3"),
        ("labels", [True] * 8, "whole numbers"),
        ("labels", ["0"] * 8, "whole numbers"),
        ("labels", [[0]] * 7 + [0], "one an image, or several of all"),
        ("labels", [[0, 3]] * 8, "below 3"),
        ("labels", [[1, 0]] * 8, "must rise"),
        ("labels", [["0"]] * 8, "whole numbers"),
        ("offsets", [0] * 8, "outside"),
        ("offsets", [2**70] * 8, "whole numbers"),
        ("sizes", [10**12] * 8, "outside"),
        ("names", [1] * 8, "texts"),
        ("sha256", ["0" * 63] * 8, "SHA-256"),
        ("classes", ["a", "a", "b"], "unique"),
        ("surprise", 1, "surprise"),
    ],
)
def test_impossible_values_are_named(text, field, value, complaint):
    values = json.loads(text) | {field: value}
    with pytest.raises(DataError, match=complaint) as caught:
        ShardIndex.from_json(json.dumps(values), name="x.json")
    assert str(caught.value).startswith("x.json ")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"format": "mobileone-shard-1"}', "[" * 10**5])
def test_what_is_no_index_is_refused(text):
    with pytest.raises(DataError, match=r"x\.json is not a shard's index"):
        ShardIndex.from_json(text, name="x.json")


def test_mutated_indexes_are_read_or_refused(text):
    chance, refused = random.Random(0), []
    for _ in range(300):
        data = bytearray(text.encode())
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            assert len(ShardIndex.from_json(bytes(data), name="x.json")) == 8
        except MobileOneError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert all("x.json" in message for message in refused)
