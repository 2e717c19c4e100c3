"""Checking shards, and indexes for those of others."""

import json

import pytest
import webdataset

from mobileone.data.shards.index import ShardIndex
from mobileone.data.shards.shard_source import open_shards
from mobileone.data.shards.verify_shards import index_shards, verify_shards
from mobileone.errors import ConfigError, DataError


@pytest.mark.parametrize("workers", [0, 2])
def test_whole_shards_are_counted(written, workers):
    assert verify_shards(written, num_workers=workers) == (7, 51)
    assert verify_shards(f"{written}/val-{{000000..000001}}.tar", num_workers=workers) == (2, 11)


def test_every_damaged_image_is_named(shards):
    index = ShardIndex.from_json((shards / "train-000002.json").read_text(), name="x")
    path = shards / "train-000002.tar"
    data = bytearray(path.read_bytes())
    for number in (1, 5):
        data[index.offsets[number] + 7] ^= 4
    path.write_bytes(data)
    other = bytearray((shards / "val-000001.tar").read_bytes())
    other[-1] ^= 1
    (shards / "val-000001.tar").write_bytes(other)
    with pytest.raises(DataError) as caught:
        verify_shards(shards, num_workers=0)
    assert "2 of 7 shards are damaged" in str(caught.value)
    assert f"train-000002.tar ({index.names[1]}, {index.names[5]})" in str(caught.value)
    assert "val-000001.tar (between the images)" in str(caught.value)


@pytest.mark.parametrize("name", ["train-000004", "val-000000"])
def test_missing_shards_are_noticed_even_with_their_index(shards, name):
    for suffix in ("tar", "json"):
        (shards / f"{name}.{suffix}").unlink()
    with pytest.raises(DataError, match=rf"{name}\.tar is missing"):
        verify_shards(shards, num_workers=0)


def test_only_local_shards_are_verified():
    with pytest.raises(ConfigError, match="not a local file"):
        verify_shards("pipe:cat a.tar", num_workers=0)


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
        open_shards(pattern, split="val")
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
    with pytest.raises(ConfigError, match="--split"):
        index_shards(f"{folder}/part-0000.tar", num_workers=0)
