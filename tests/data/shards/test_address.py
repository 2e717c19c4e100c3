"""Addresses of shards, and what stands beside them."""

import shutil

import pytest

from mobileone.data.open import open_data
from mobileone.data.shards.address import expand, is_shards, split_addresses
from mobileone.data.shards.shard_source import read_index
from mobileone.errors import DataError


def test_folders_of_images_and_of_shards_are_told_apart(photo_folder, written, tmp_path):
    assert not is_shards(photo_folder)
    assert not is_shards("digits")
    assert is_shards(written)
    assert is_shards(str(written / "train-{000000..000004}.tar"))
    assert is_shards("https://a.org/train.tar?x=1")
    named_tar = tmp_path / "photos.tar"
    (named_tar / "cat").mkdir(parents=True)
    assert not is_shards(named_tar)


def test_a_tar_file_beside_folders_of_images_makes_no_shards_of_them(photo_folder, tmp_path):
    """The folder was refused for lack of a train-000000.tar."""
    shutil.copytree(photo_folder, tmp_path / "data")
    (tmp_path / "data" / "download.tar").touch()
    assert not is_shards(tmp_path / "data")
    assert len(open_data(tmp_path / "data", split="train")) == 40
    (tmp_path / "data" / "download.json").touch()
    assert is_shards(tmp_path / "data")
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / "0.tar").touch()
    assert is_shards(tmp_path / "tars")


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("a/{0..3}.jpg", "names no .tar"),
        ("a.tar::a.tar", "twice"),
        ("a${NO_SUCH_VARIABLE}.tar", "cannot expand"),
        ("pipe:cat nothing", "names no .tar"),
    ],
)
def test_patterns_that_name_no_shards_are_refused(pattern, complaint):
    with pytest.raises(DataError, match=complaint):
        expand(pattern)


def test_the_other_split_is_found_in_every_notation(written):
    index = read_index(str(written / "train-000001.tar"))
    for text in ("DIR/{}.tar", "https://a.org/{}.tar?v=1", "pipe:cat DIR/{}.tar | cat"):
        assert split_addresses(text.format("train-000001"), index, "val") == (
            text.format("val-000000"),
            text.format("val-000001"),
        )
    with pytest.raises(DataError, match="give it that name again"):
        split_addresses("DIR/renamed.tar", index, "val")


@pytest.mark.parametrize(
    "pattern",
    [
        "a/{0..999999999999}.tar",
        "a/{0..99999}-{0..99999}.tar",
        "a" + "{x,y}" * 40 + ".tar",
        "a/{" + "{0..9999}," * 50 + "}.tar",
        "a/{-999999999..999999999}.tar::b.tar",
    ],
)
def test_patterns_without_end_are_refused_at_once(pattern, no_hang):
    with pytest.raises(DataError, match=r"more shards than 100000 \(\$MOBILEONE_MAX_SHARDS sets it\)"):
        expand(pattern)


def test_a_long_list_is_read_in_no_time(no_hang):
    assert len(expand("a/{00000..99999}.tar")) == 100_000
