"""What is no regular file is refused before it can hang or fill the memory, and reading is bounded."""

import os
import socket

import pytest

from mobileone.limits import JSON_BYTES
from mobileone.regular_file import open_regular, parse_json_text, read_json, read_regular


@pytest.fixture
def odd_files(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    (tmp_path / "fifo link").symlink_to("fifo")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"),
    [("fifo", "a pipe"), ("fifo link", "a pipe"), ("zero", "a device"), ("folder", "a folder")],
)
def test_fifo_device_and_folder_are_refused_at_once(name, kind, odd_files, no_hang):
    with pytest.raises(OSError, match=f"no regular file but {kind}"):
        open_regular(odd_files / name)


def test_a_socket_is_refused(tmp_path, monkeypatch, no_hang):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        with pytest.raises(OSError, match="no regular file but a socket"):
            open_regular("socket")


def test_a_name_that_becomes_a_fifo_in_between_is_refused(odd_files, monkeypatch, no_hang):
    (odd_files / "plain").write_bytes(b"x")
    plain = os.stat(odd_files / "plain")
    monkeypatch.setattr(os, "stat", lambda *_, **__: plain)
    with pytest.raises(OSError, match="no regular file but a pipe"):
        open_regular(odd_files / "fifo")


def test_reading_is_bounded_by_content_and_claimed_size(tmp_path, monkeypatch):
    monkeypatch.setenv(JSON_BYTES.variable, "10")
    (tmp_path / "fits").write_bytes(b"0123456789")
    assert read_regular(tmp_path / "fits", JSON_BYTES) == b"0123456789"
    monkeypatch.setenv(JSON_BYTES.variable, "100000")
    assert read_regular("/proc/self/stat", JSON_BYTES).startswith(str(os.getpid()).encode())
    monkeypatch.setenv(JSON_BYTES.variable, "10")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    for path in (tmp_path / "sparse", "/proc/self/maps"):  # the latter says that it has 0 bytes
        with pytest.raises(OSError, match=r"larger than 10 \(\$MOBILEONE_MAX_JSON_BYTES sets it\)"):
            read_regular(path, JSON_BYTES)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        (r'{"a": ["\ud800"]}', "no Unicode|not Unicode"),
        (r'{"\uDC00": 1}', "not Unicode"),
        ("1" * 5000, "limit"),
        ("{", "Expecting"),
        (b"\xff\xfe{}", "utf-8"),
    ],
)
def test_hostile_json_is_a_value_error(text, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        parse_json_text(text)
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=reason):
        read_json(path)


def test_surrogate_pairs_are_plain_text():
    assert parse_json_text(r'"\ud83d\ude00"') == "😀"
