"""Addresses of shards, and what stands beside them."""

import pytest

from mobileone.data.shards import address
from mobileone.data.shards.address import expand, is_shards, open_remote, split_addresses
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


def test_a_pipe_gives_its_output_and_its_failure(tmp_path):
    with open_remote("pipe:printf 'a b'") as chunks:
        assert b"".join(chunks) == b"a b"
    with pytest.raises(DataError, match=r"pipe:exit 3 .*exit code 3"), open_remote("pipe:exit 3") as chunks:
        list(chunks)
    with open_remote("pipe:yes") as chunks:  # what is left unread ends with it
        assert next(chunks).startswith(b"y\n")


def test_a_pipe_that_stalls_is_given_up(monkeypatch):
    monkeypatch.setattr(address, "STALL_S", 0.2)
    with pytest.raises(DataError, match="gave nothing"), open_remote("pipe:exec sleep 30") as chunks:
        list(chunks)


def test_unknown_schemes_and_hosts_are_one_error():
    with pytest.raises(DataError, match="no gopen handler"), open_remote("gopher://a.org/x.tar") as chunks:
        list(chunks)


def test_a_url_that_answers_404_says_so(server):
    complaint = r"none\.tar \(exit code 22: an HTTP error"
    with pytest.raises(DataError, match=complaint), open_remote(f"{server}/none.tar") as chunks:
        list(chunks)
