"""How a set is divided: by the data alone."""

import json
import os

import pytest
from tests.parts.conftest import jpeg, write_tar

from mobileone.data.open import open_data
from mobileone.data.shards.index_shards import index_shards
from mobileone.data.shards.write import ShardSettings, write_shards
from mobileone.errors import ConfigError, DataError
from mobileone.parts import data_part
from mobileone.parts.data_part import hash_of_names, named_parts, named_shards, shard_parts, source_parts


def names(parts):
    return [part.name for part in parts]


def test_so_many_files_a_part_in_order(photos):
    parts = named_parts([str(photos)], part_size=3)
    assert names(parts) == ["part-000000", "part-000001", "part-000002"]
    assert [part.images for part in parts] == [3, 3, 1]
    opened = [part.open() for part in parts]
    found = [name for each in opened for name in each.names]
    assert found == sorted(str(path) for path in photos.rglob("*.jpg"))
    assert opened[1].read(0) == found[3]
    assert parts[2].names_hash == hash_of_names(found[6:])
    assert names(named_parts([str(photos), found[0].replace("0.jpg", "x.jpg")], part_size=3)) == names(
        named_parts([str(photos)], part_size=3)
    )


def test_a_shard_is_a_part_with_an_index_or_without(make_shards, photos, tmp_path):
    pytest.importorskip("webdataset", reason="shards need webdataset, an extra")
    make_shards(2)
    parts = named_parts([f"{tmp_path}/shards/{{000..001}}.tar"])
    assert names(parts) == ["000", "001"]
    images = parts[1].open()
    shard = tmp_path / "shards" / "001.tar"
    assert list(images.names) == [f"{shard}: 1-{i}.jpg" for i in range(3)]
    assert (images.source, images.read(2).data) == (None, jpeg(5))
    assert parts[0].size_bytes == (tmp_path / "shards" / "000.tar").stat().st_size
    assert parts[0].images is None
    write_shards(photos, tmp_path / "made", settings=ShardSettings(shard_size=4), num_workers=0)
    images = shard_parts([str(tmp_path / "made" / "val-000001.tar")])[0].open()
    assert images.names[0].endswith("val-000001.tar: dog/0.jpg")
    assert images.source.classes[images.source.labels[0]] == "dog"
    assert len(images) == 3


def test_every_shard_of_a_folder_is_named_where_indexes_do_not_know_their_number(photos, tmp_path):
    """The first alone was taken."""
    pytest.importorskip("webdataset", reason="shards need webdataset, an extra")
    write_shards(photos, tmp_path / "made", settings=ShardSettings(shard_size=4), num_workers=0)
    for path in (tmp_path / "made").glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"shards": {}}))
    found = [os.path.basename(address) for address in named_shards(str(tmp_path / "made"))]
    assert found == ["val-000000.tar", "val-000001.tar"]


def test_mixed_kinds_are_numbered_and_names_that_are_alike_told_apart(make_shards, photos, tmp_path):
    first, second = make_shards(2)
    parts = named_parts([first, str(photos), second], part_size=4)
    assert names(parts) == ["000000-000", "000001-part-000000", "000002-part-000001", "000003-001"]
    write_tar(tmp_path / "b" / "000.tar", {"x.jpg": jpeg(0)})
    assert names(named_parts([first, str(tmp_path / "b" / "000.tar")])) == ["000000-000", "000001-000"]


def test_a_list_needs_no_labels(photos, tmp_path):
    table = tmp_path / "photos" / "list.csv"
    table.write_text("image\nval/dog/1.jpg\nval/cat/0.jpg\n")
    (part,) = named_parts([str(table)])
    assert list(part.open().names) == [str(photos / "val/dog/1.jpg"), str(photos / "val/cat/0.jpg")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "at least one image file, folder, list or shard"),
        (("a.jpg", "b.jpg", "a.jpg"), r"a\.jpg is there twice; every image has one result"),
        (("a.tar", "a.tar"), r"a\.tar is there twice"),
    ],
)
def test_what_cannot_be_divided(words, told):
    with pytest.raises(ConfigError, match=told):
        named_parts(words)
    with pytest.raises(ConfigError, match="part_size must be at least 1"):
        named_parts(["a.jpg"], part_size=0)


def test_a_shard_that_is_gone_or_damaged_is_told_when_it_is_opened(make_shards, tmp_path):
    gone, torn, index = make_shards(3)
    os.truncate(torn, 5000)
    os.unlink(gone)
    (tmp_path / "shards" / "002.json").write_text("{}")
    parts = named_parts([gone, torn, index])
    assert [part.size_bytes for part in parts][:2] == [None, 5000]
    for part, told in zip(
        parts, ("000.tar cannot be read", "001.tar is", "002.json is not a shard's index"), strict=True
    ):
        with pytest.raises(DataError, match=told):
            part.open()
    (part,) = shard_parts([torn], labelled=True)
    with pytest.raises(DataError, match="the shard's index, cannot be read"):
        part.open()


def test_a_signature_in_an_address_is_no_part_of_the_name():
    (part,) = shard_parts(["https://a.org/x/012.tar?sig=abc"])
    assert (part.name, part.where, part.is_remote) == ("012", "https://a.org/x/012.tar", True)


def test_shards_behind_an_address_without_an_index(make_shards, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    (shard,) = make_shards(1)
    (part,) = named_parts([f"file://{shard}"])
    images = part.open()
    assert [images.read(i).data for i in range(3)] == [jpeg(i) for i in range(3)]
    assert list((tmp_path / "cache" / "shards").iterdir()) == [], "it has no name in the cache"
    index_shards(write_labelled(tmp_path), num_workers=0)
    images = named_parts([f"file://{tmp_path}/labelled/train-000000.tar"])[0].open()
    assert images.source.labels.tolist() == [1]


def write_labelled(tmp_path):
    path = write_tar(tmp_path / "labelled" / "train-000000.tar", {"a.jpg": jpeg(0), "a.cls": b"1"})
    (path.parent / "classes.json").write_text('["cat", "dog"]')
    return str(path)


def test_a_labelled_set_keeps_its_places(photos):
    source = open_data(str(photos), split="val")
    parts = source_parts(source, [source.files[i] for i in range(len(source))], part_size=5)
    images = parts[1].open()
    assert [source.labels[place] for place in images.places] == [1, 1]
    assert images.read(1).name.endswith("dog/2.jpg")


def test_a_data_set_of_the_hub_has_parts_of_its_own(monkeypatch):
    class Images:
        notes = ("validation is used",)

        def __len__(self):
            return 3

        def name(self, index):
            return f"hf:me/set: {index}"

        def read(self, index):
            return jpeg(index)

    monkeypatch.setattr(data_part, "open_hub_images", lambda word: Images())
    notes = []
    parts = named_parts(["a.jpg", "hf:me/set", "b.jpg"], part_size=2, on_note=notes.append)
    assert [(part.name, part.images) for part in parts] == [
        ("000000-part-000000", 1),
        ("000001-part-000000", 2),
        ("000002-part-000001", 1),
        ("000003-part-000000", 1),
    ]
    assert (parts[2].open().names, parts[2].open().read(0)) == (["hf:me/set: 2"], jpeg(2))
    assert notes == ["validation is used"]
