"""The cache of fetched shards: bounds, checks, sharing."""

import hashlib
import os
import pickle
import time

import pytest

from mobileone.data.shards.shard_cache import LIMIT_VARIABLE, RemoteShard, ShardCache
from mobileone.errors import ConfigError, DataError


@pytest.fixture
def remote(tmp_path):
    """Makes a shard of 1000 bytes behind a pipe that notes every reading in a file."""

    def make(letter: str, **changes) -> RemoteShard:
        content, path = letter.encode() * 1000, tmp_path / f"{letter}.tar"
        path.write_bytes(content)
        known = {"size": 1000, "sha256": hashlib.sha256(content).hexdigest()} | changes
        return RemoteShard(f"pipe:echo {letter} >> {tmp_path}/log; cat {path}", **known)

    return make


def readings(tmp_path):
    return (tmp_path / "log").read_text().split()


def test_a_shard_is_fetched_once(remote, tmp_path):
    shard = remote("a")
    for cache in (ShardCache(tmp_path / "cache"), pickle.loads(pickle.dumps(ShardCache(tmp_path / "cache")))):
        assert cache.path(shard).read_bytes() == b"a" * 1000
    assert readings(tmp_path) == ["a"]


def test_the_least_recently_used_goes_first(remote, tmp_path):
    cache = ShardCache(tmp_path / "cache", limit_bytes=2000)
    a, b, c = (remote(letter) for letter in "abc")
    for shard in (a, b, a, c):
        time.sleep(0.01)
        cache.path(shard)
    assert {path.stem for path in cache.folder.glob("*.tar")} == {a.sha256, c.sha256}
    cache.path(a)
    cache.path(b)
    assert readings(tmp_path) == ["a", "b", "c", "b"]


def test_what_is_not_the_indexed_shard_is_not_kept(remote, tmp_path):
    cache = ShardCache(tmp_path / "cache")
    wrong = (
        (remote("a", sha256="0" * 64), "got 1000 bytes"),
        (remote("a", size=1001), "got 1000 bytes"),
        (remote("a", size=10), "more than 10 bytes"),
    )
    for shard, complaint in wrong:
        with pytest.raises(DataError, match=complaint):
            cache.path(shard)
    assert not [path for path in cache.folder.iterdir() if path.suffix != ".lock"]


def test_a_passing_failure_is_tried_again(remote, tmp_path):
    shard = remote("a")
    # Fails twice: mkdir succeeds once for each name.
    flaky = f"pipe:(mkdir {tmp_path}/1 || mkdir {tmp_path}/2) 2>/dev/null && exit 1; cat {tmp_path}/a.tar"
    cache = ShardCache(tmp_path / "cache")
    assert cache.path(RemoteShard(flaky, shard.size, shard.sha256)).stat().st_size == 1000


def test_a_cache_that_is_emptied_all_the_time_is_one_error(remote, tmp_path, monkeypatch):
    cache = ShardCache(tmp_path / "cache")
    monkeypatch.setattr(cache, "path", lambda shard: tmp_path / "gone.tar")
    with pytest.raises(DataError, match=LIMIT_VARIABLE):
        cache.open(remote("a"))


def test_an_endless_shard_is_cut_off(tmp_path):
    with pytest.raises(DataError, match="more than 5000 bytes"):
        ShardCache(tmp_path / "cache").path(RemoteShard("pipe:yes", 5000, "0" * 64))


def test_expected_shards_come_by_themselves(remote, tmp_path):
    cache = ShardCache(tmp_path / "cache")
    shards = [remote(letter) for letter in "abcdef"]
    broken = RemoteShard("pipe:exit 1", 1000, "1" * 64)
    cache.expect([broken, *shards])
    deadline = time.monotonic() + 30
    while len(list(cache.folder.glob("*.tar"))) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(readings(tmp_path)) == list("abcdef")
    for shard in shards:
        cache.path(shard)
    assert len(readings(tmp_path)) == 6
    with pytest.raises(DataError, match="exit code 1"):
        cache.path(broken)  # who needs it is told


def test_a_folder_that_cannot_be_written_is_one_error(remote, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="MOBILEONE_CACHE"):
        ShardCache(tmp_path / "file" / "cache").path(remote("a"))


def test_the_limit_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILEONE_CACHE", os.fspath(tmp_path))
    monkeypatch.setenv(LIMIT_VARIABLE, "0.5")
    assert ShardCache().limit_bytes == 5e8
    assert ShardCache().folder == tmp_path / "shards"
    for value in ("0", "much", "inf"):
        monkeypatch.setenv(LIMIT_VARIABLE, value)
        with pytest.raises(ConfigError, match=LIMIT_VARIABLE):
            ShardCache()
