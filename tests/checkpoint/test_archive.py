"""Zips that are damaged, or made to harm: each is refused in one line."""

import struct
import zipfile
import zlib

import pytest
import torch

from mobileone.checkpoint.archive import Archive, describe_error, is_name
from mobileone.checkpoint.contents import open_contents
from mobileone.errors import CheckpointError, UnsafeCheckpointError


def test_every_flipped_bit_of_the_central_directory_is_seen_or_harmless(tmp_path, fused, saved_bytes):
    content = saved_bytes(fused.state_dict())
    path = tmp_path / "flipped.pth"
    wanted = fused.state_dict()
    start = content.index(b"PK\x01\x02")
    refusals = 0
    for place in range(start, len(content), 11):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            contents = open_contents(path)
            got = contents.read("", list(contents.tables[""]))
        except CheckpointError:
            refusals += 1
        else:
            assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    assert refusals > 50


def test_flipped_bits_of_a_tensor_are_seen(tmp_path, fused, saved_bytes, refused):
    content = bytearray(saved_bytes(fused.state_dict()))
    weight = fused.stem.reparam_conv.weight.detach().numpy().tobytes()
    content[content.index(weight) + 5] ^= 1
    path = tmp_path / "flipped.pth"
    path.write_bytes(content)
    assert "damaged" in refused(path, by_info=False)


def test_a_zip_bomb_is_refused(tmp_path, refused):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(20_000_000))
    assert path.stat().st_size < 100_000
    assert "compressed" in refused(path, UnsafeCheckpointError)


def test_overlapping_entries_are_refused(tmp_path, refused):
    path = tmp_path / "overlap.pth"
    name, inner = b"archive/data/1", b"x" * 64
    crc = zlib.crc32(inner)
    header = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 33, crc, 64, 64, len(name), 0)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", header + name + inner)
        outer = archive.getinfo("archive/data/0")
        info = zipfile.ZipInfo(name.decode())
        info.CRC, info.file_size, info.compress_size = crc, 64, 64
        info.header_offset = outer.header_offset + 30 + len(name)
        archive.filelist.append(info)
    with zipfile.ZipFile(path) as archive:  # an ordinary reader finds both
        assert archive.read("archive/data/1") == inner
    assert "overlaps" in refused(path, UnsafeCheckpointError)


def test_an_entry_named_twice_is_refused(tmp_path, refused):
    path = tmp_path / "twice.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("archive/data.pkl", b"\x80\x02K\x01.")
    refused(path, UnsafeCheckpointError)


def test_entries_are_read_without_their_top_folder(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("top/data.pkl", b"first")
        archive.writestr("top/data/0", b"second")
    with Archive(path) as archive:
        assert {name: bytes(archive.read(name)) for name in archive.entries} == {
            "data.pkl": b"first", "data/0": b"second",
        }  # fmt: skip
        with pytest.raises(CheckpointError, match="it has no entry data/1"):
            archive.read("data/1")


@pytest.mark.parametrize(
    ("text", "fits"),
    [("stem.weight", True), ("", False), ("a\nb", False), ("x" * 201, False), (3, False), ("größe", True)],
)
def test_what_may_be_a_name(text, fits):
    assert is_name(text) is fits


def test_errors_of_damaged_files_are_cited_in_one_short_printable_line():
    assert describe_error(ValueError("bad \x00 byte\nand more")) == "bad ? byte"
    assert len(describe_error(ValueError("x" * 1000))) == 120
    assert describe_error(KeyError()) == "KeyError"
