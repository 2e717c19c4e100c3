"""A small data set as a folder and as shards."""

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileone.data.shards import remote
from mobileone.data.shards.write import ShardSettings, write_shards

pytest.importorskip("webdataset", reason="shards need webdataset, an extra")
NUM_TRAIN, NUM_VAL = 40, 11
SETTINGS = ShardSettings(shard_size=8)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """What fails is tried again at once."""
    monkeypatch.setattr(remote, "RETRY_S", (0.0, 0.0))


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory) -> Path:
    """40 training and 11 validation images of three classes, JPEG and PNG."""
    root = tmp_path_factory.mktemp("data") / "photos"
    generator = np.random.default_rng(0)
    for split, number in (("train", NUM_TRAIN), ("val", NUM_VAL)):
        for index in range(number):
            folder = root / split / ("cat", "dog", "dog-b")[index % 3]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 256, (24 + index % 5, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.{'JPEG' if index % 2 else 'png'}")
    return root


@pytest.fixture(scope="session")
def written(photo_folder, tmp_path_factory) -> Path:
    """Its shards, five for training and two for validation; not to be changed."""
    folder = tmp_path_factory.mktemp("written") / "shards"
    write_shards(photo_folder, folder, settings=SETTINGS, num_workers=0)
    return folder


@pytest.fixture
def shards(written, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(written, tmp_path / "shards"))


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """Where fetched shards go."""
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shards"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(shards) -> Iterator[str]:
    """The shards behind HTTP."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=os.fspath(shards)))
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()
