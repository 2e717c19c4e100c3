"""Indexes for shards that others wrote."""

import json

import pytest
import webdataset

from mobileone.data.shards.index_shards import index_shards
from mobileone.data.shards.shard_source import open_shards
from mobileone.data.shards.verify_shards import verify_shards
from mobileone.errors import ConfigError, DataError


@pytest.fixture
def foreign(photo_folder, tmp_path):
    """Shards as webdataset's own writer makes them."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    images = sorted((photo_folder / "train" / "cat").iterdir())
    with webdataset.ShardWriter(f"{folder}/train-%04d.tar", maxcount=5, verbose=0) as writer:
        for number, path in enumerate(images):
            kind = path.suffix[1:].lower()
            sample = {"__key__": f"n{number}", kind: path.read_bytes(), "cls": number % 3, "json": {"a": 1}}
            writer.write(sample)
    return folder, images


def test_foreign_shards_get_an_index_and_are_read(foreign):
    folder, images = foreign
    pattern = f"{folder}/train-{{0000..0002}}.tar"
    with pytest.raises(DataError, match="--index"):
        open_shards(pattern, split="train")
    assert index_shards(pattern, num_workers=2) == len(images)
    source = open_shards(pattern, split="train")
    assert [source.read(i).data for i in range(len(source))] == [path.read_bytes() for path in images]
    assert source.labels.tolist() == [i % 3 for i in range(len(images))]
    assert source.classes == ("0", "1", "2")
    with pytest.raises(DataError, match="does not know where val is"):
        open_shards(pattern, split="val", beside=True)
    with pytest.raises(ConfigError, match="is there already"):
        index_shards(pattern)
    assert verify_shards(pattern, num_workers=0) == (3, len(images))


def test_class_names_lie_beside_foreign_shards(foreign):
    folder, _ = foreign
    pattern = f"{folder}/train-{{0000..0002}}.tar"
    (folder / "classes.json").write_text("{}")
    with pytest.raises(DataError, match="list of different class names"):
        index_shards(pattern, num_workers=0)
    (folder / "classes.json").write_text(json.dumps(["x", "y"]))
    with pytest.raises(DataError, match="class 2, of 2"):
        index_shards(pattern, num_workers=0)
    for path in folder.glob("train-*.json"):
        path.unlink()
    (folder / "classes.json").write_text(json.dumps(["x", "y", "z", "w"]))
    index_shards(pattern, num_workers=0, split="val")
    assert open_shards(pattern, split="val").classes == ("x", "y", "z", "w")


def test_a_split_must_be_known(foreign, tmp_path):
    folder, _ = foreign
    (folder / "train-0000.tar").rename(folder / "part-0000.tar")
    with pytest.raises(ConfigError, match="give the split, train or val"):
        index_shards(f"{folder}/part-0000.tar", num_workers=0)
