"""The files that a word stands for."""

import pytest

from mobileone.data.named_files import named_files
from mobileone.errors import ConfigError, DataError


def test_files_folders_lists_and_shards(tmp_path):
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    for name in ("a/1.jpg", "0.png", "notes.txt"):
        (folder / name).write_bytes(b"x")
    (tmp_path / "list.csv").write_text("image,label\nphotos/0.png,cat\n")
    notes = []
    files = {
        word: named_files(str(tmp_path / word), on_note=notes.append)
        for word in ("photos", "list.csv", "gone.jpg", "s.tar", "x.tar.jpg")
    }
    assert files == {
        "photos": [str(folder / "0.png"), str(folder / "a/1.jpg")],
        "list.csv": [str(folder / "0.png")],
        "gone.jpg": [str(tmp_path / "gone.jpg")],
        "s.tar": None,
        "x.tar.jpg": [str(tmp_path / "x.tar.jpg")],
    }
    assert len(notes) == 1
    assert ".txt" in notes[0]


def test_what_names_no_images(tmp_path):
    with pytest.raises(DataError, match="no images below"):
        named_files(str(tmp_path), on_note=print)
    (tmp_path / "val-000000.tar").touch()
    with pytest.raises(ConfigError, match="holds shards; name those that are meant"):
        named_files(str(tmp_path), on_note=print)
    (tmp_path / "bad.jsonl").write_text('{"picture": "a.jpg"}\n')
    with pytest.raises(DataError, match="line 1: it names no image; the list needs a column image"):
        named_files(str(tmp_path / "bad.jsonl"), on_note=print)
