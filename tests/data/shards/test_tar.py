"""Reading the layout of tar files, sound and hostile."""

import io
import random
import struct
import tarfile
import tracemalloc

import pytest

from mobileone.data.shards.index import ShardIndex
from mobileone.data.shards.tar import index_tar, samples
from mobileone.errors import DataError, MobileOneError

CLASSES = ("cat", "dog", "dog-b")


def tar_of(path, files, **options):
    with tarfile.open(path, "w", **options) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_images_find_their_labels_whatever_the_order(tmp_path):
    long = "folder/" * 20 + "a"  # needs a header of its own
    files = {"b.cls": b"1", "b.jpg": b"B", "b.json": b"{}", f"{long}.JPEG": b"A", f"{long}.cls": b" 0\n"}
    path = tar_of(tmp_path / "x.tar", files)
    index = index_tar(path, split="train", number=0, classes=CLASSES)
    assert index.labels == (1, 0)
    assert index.names == ("b.jpg", f"{long}.JPEG")
    data = path.read_bytes()
    assert [data[o : o + n] for o, n in zip(index.offsets, index.sizes, strict=True)] == [b"B", b"A"]


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"a.txt": b"x"}, "no images"),
        ({"a.jpg": b"x"}, "has no label"),
        ({"a.jpg": b"x", "a.cls": b"cat"}, "no class index"),
        ({"a.jpg": b"x", "a.cls": b"9" * 80}, "no class index"),
        ({"a.jpg": b"x", "a.cls": b"3"}, "class 3, of 3"),
    ],
)
def test_what_is_no_labelled_shard_is_refused(tmp_path, files, complaint):
    with pytest.raises(DataError, match=complaint) as caught:
        index_tar(tar_of(tmp_path / "x.tar", files), split="train", number=0, classes=CLASSES)
    assert "x.tar" in str(caught.value)


def test_several_labels_are_a_list_in_json(tmp_path):
    files = {"a.jpg": b"A", "a.json": b"[0, 2]", "b.jpg": b"B", "b.json": b"[]", "b.cls": b"1"}
    path = tar_of(tmp_path / "x.tar", files)
    index = index_tar(path, split="train", number=0, classes=CLASSES, task="multilabel")
    assert (index.labels, index.task) == (((0, 2), ()), "multilabel")
    assert ShardIndex.from_json(index.to_json(), name="x.json") == index
    for text, complaint in (
        (b"{}", "no list of class"),
        (b"[true]", "no list of class"),
        (b"[3]", "class 3, of 3"),
    ):
        path = tar_of(tmp_path / "x.tar", {"a.jpg": b"A", "a.json": text})
        with pytest.raises(DataError, match=complaint):
            index_tar(path, split="train", number=0, classes=CLASSES, task="multilabel")


def test_a_key_twice_is_refused(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a.jpg"), io.BytesIO())
    with path.open("rb") as file, pytest.raises(DataError, match="two jpg files of the key 'a'"):
        samples(file, "x.tar")


def test_a_tar_torn_anywhere_is_refused(written, tmp_path):
    whole = (written / "train-000000.tar").read_bytes()
    end = len(whole.rstrip(b"\0"))
    torn = tmp_path / "x.tar"
    for length in [0, 1, 511, 512, 513, 1024, *range(2000, end, 3001)]:
        torn.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"x\.tar"):
            index_tar(torn, split="train", number=0, classes=CLASSES)
    torn.write_bytes(whole)
    assert len(index_tar(torn, split="train", number=0, classes=CLASSES)) == 8


def test_a_damaged_header_in_the_middle_is_not_the_end(written, tmp_path):
    data = bytearray((written / "train-000000.tar").read_bytes())
    index = ShardIndex.from_json((written / "train-000000.json").read_text(), name="x")
    data[index.offsets[4] - 512] ^= 1  # its checksum is wrong now
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(DataError, match="torn or damaged: after"):
        index_tar(path, split="train", number=0, classes=CLASSES)


def with_checksum(header: bytearray) -> bytearray:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return header


def mutated(data: bytes, headers: list[int], chance: random.Random) -> bytes:
    """Torn, flipped, spliced, or with a header that lies and has a right checksum."""
    out = bytearray(data)
    kind = chance.randrange(5)
    if kind == 0:
        return bytes(out[: chance.randrange(len(out))])
    if kind == 1:
        for _ in range(chance.randint(1, 20)):
            out[chance.randrange(len(out))] = chance.randrange(256)
    elif kind == 2:
        start, length = chance.randrange(len(out)), chance.randrange(1, 2048)
        del out[start : start + length]
    elif kind == 3:
        start = chance.randrange(len(out))
        out[start:start] = out[start // 2 : start // 2 + 512]
    else:
        at = chance.choice(headers)
        header = out[at : at + 512]
        what = chance.randrange(4)
        if what == 0:  # a size in base 256, also negative
            header[124:136] = chance.choice([b"\x80", b"\xff"]) + struct.pack(
                ">3xq", chance.randint(-(2**40), 2**40)
            )
        elif what == 1:
            header[124:136] = b"%011o\0" % chance.choice([0, 512, 10**6, 8**11 - 1])
        elif what == 2:
            header[156] = chance.choice(b"01235LKxgSXV\0")
        else:
            header[0:100] = bytes(chance.randrange(256) for _ in range(100))
        out[at : at + 512] = with_checksum(header)
    return bytes(out)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_mutated_tars_are_read_or_refused(tmp_path, format):
    """900 inputs in all: no other error, and no more memory than some copies of the file."""
    files = {}
    for index in range(12):
        name = ("é" * (40 if format == tarfile.USTAR_FORMAT else 60) if index % 3 else "a") + f"{index:03d}"
        files |= {f"{name}.jpg": bytes(range(256)) * 3, f"{name}.cls": b"1"}
    data = tar_of(tmp_path / "whole.tar", files, format=format).read_bytes()
    headers = [i for i in range(0, len(data), 512) if data[i + 257 : i + 262] == b"ustar"]
    assert len(headers) >= 24
    chance, path, refused = random.Random(format), tmp_path / "x.tar", []
    tracemalloc.start()
    try:
        for _ in range(300):
            path.write_bytes(mutated(data, headers, chance))
            try:
                assert 0 < len(index_tar(path, split="val", number=0, classes=CLASSES)) <= 24
            except MobileOneError as error:
                refused.append(str(error))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(refused) > 100
    assert all("x.tar" in message for message in refused)
    assert peak < 2**20 + 8 * len(data)


def test_a_chain_of_long_names_is_refused(tmp_path):
    """Each header refers to the next; Python's tarfile follows them by recursion."""
    header = bytearray(tarfile.TarInfo("././@LongLink").tobuf(tarfile.GNU_FORMAT))
    header[156] = ord("L")
    path = tmp_path / "x.tar"
    path.write_bytes(bytes(with_checksum(header)) * 3000 + bytes(1024))
    with pytest.raises(DataError, match=r"x\.tar"):
        index_tar(path, split="val", number=0, classes=CLASSES)
