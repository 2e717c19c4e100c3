"""Whether shards are still as written."""

import pytest

from mobileone.data.shards.index import ShardIndex
from mobileone.data.shards.verify_shards import verify_shards
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
