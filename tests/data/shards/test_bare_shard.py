"""Tar files of images without an index."""

import io
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from mobileone.data.shards.bare_shard import BareShard
from mobileone.errors import DataError


def tar_of(path, names):
    with tarfile.open(path, "w") as tar:
        for number, name in enumerate(names):
            content = io.BytesIO()
            Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(content, "PNG")
            info = tarfile.TarInfo(name)
            info.size = len(content.getvalue())
            tar.addfile(info, io.BytesIO(content.getvalue()))
    return str(path)


@pytest.mark.parametrize("elsewhere", ["", "file://", "http"])
def test_every_image_file_in_order(tmp_path, elsewhere, shards, server, cache):
    names = ["b/x.2020.PNG", "a.png", "a.cls", "b/.hidden.png", "__notes.txt"]
    path = tar_of(shards / "0.tar", names)
    found = BareShard(f"{server}/0.tar" if elsewhere == "http" else f"{elsewhere}{path}")
    assert found.files == ["b/x.2020.PNG", "a.png"]
    assert [found.read(index).decode()[0, 0, 0] for index in range(len(found))] == [0, 1]
    assert found.name(1).endswith("0.tar: a.png")
    assert not elsewhere or not list(cache.iterdir()), "it has no name in the cache"


def test_what_is_no_shard_of_images(tmp_path, server, shards, cache):
    twice = tar_of(tmp_path / "twice.tar", ["a.png", "a.png"])
    empty = tar_of(tmp_path / "empty.tar", ["a.txt"])
    torn = tar_of(shards / "torn.tar", ["a.png", "b.png"])
    os.truncate(torn, 1000)
    for address, told in (
        (twice, "two files called a.png"),
        (empty, "holds no images"),
        (torn, "torn"),
        (str(tmp_path / "gone.tar"), "cannot be read"),
        (f"{server}/gone.tar", "404"),
        (f"{server}/torn.tar", "torn"),
    ):
        with pytest.raises(DataError, match=told):
            BareShard(address)


def test_a_shard_that_is_cut_off_while_it_is_read(tmp_path):
    path = tar_of(tmp_path / "a.tar", ["a.png", "b.png"])
    found = BareShard(path)
    os.truncate(path, 600)
    with pytest.raises(DataError, match=r"a\.tar: b\.png: the shard ends before it"):
        found.read(1)
