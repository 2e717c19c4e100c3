"""Which folders are splits, which files are images, and what is nobody's."""

import errno
import os

import PIL.Image
import pytest

from mobileone.data.folder import find_images, image_files
from mobileone.data.layout import IMAGE_EXTENSIONS, find_files, split_folder, splits_in
from mobileone.errors import DataError
from mobileone.images.decode import PILLOW_FORMATS


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def test_every_suffix_that_the_decoders_know_is_looked_for():
    PIL.Image.init()
    known = {suffix for suffix, kind in PIL.Image.registered_extensions().items() if kind in PILLOW_FORMATS}
    assert set(IMAGE_EXTENSIONS) == known


def test_other_files_are_counted_by_suffix_and_a_system_s_are_nobody_s(tmp_path):
    touch(
        tmp_path,
        *("a/1.JFIF", "a/2.jpe", "a/deep/3.PGM", "a/4.heic", "a/5.HEIC", "a/notes.txt", "a/README"),
        *("a/Thumbs.db", "a/.DS_Store", "a/desktop.ini", "a/@eaDir/1.jpg", "__MACOSX/a/._1.jpg"),
    )
    found = find_files(tmp_path)
    assert found.images == ["a/1.JFIF", "a/2.jpe", "a/deep/3.PGM"]
    assert found.ignored == {".heic": 2, ".txt": 1, "": 1}


SYSTEM = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", ".Trashes")


def test_folders_of_operating_systems_are_no_classes(tmp_path):
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg", *(f"{name}/1.jpg" for name in SYSTEM))
    assert find_images(tmp_path, split=None).classes == ("cat", "dog")
    assert find_images(tmp_path, split="val", classes=("cat", "dog", "eel")).labels.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["valid", "validation", "test", "eval", "dev", "Val", "VALID"])
@pytest.mark.parametrize("train", [True, False])
def test_a_split_by_another_name_is_used_and_said(tmp_path, name, train):
    touch(tmp_path, f"{name}/cat/1.jpg", f"{name}/dog/1.jpg", *(["train/cat/1.jpg"] if train else []))
    found = find_images(tmp_path, split="val")
    assert (found.classes, found.root) == (("cat", "dog"), tmp_path / name)
    said = [] if name == "Val" else [f"{tmp_path} has no val/; {name}/ is used"]
    assert list(found.notes) == said


def test_validation_is_meant_where_there_is_also_a_test(tmp_path):
    touch(tmp_path, "train/a/1.jpg", "valid/a/1.jpg", "test/a/1.jpg")
    assert find_images(tmp_path, split="val").root == tmp_path / "valid"
    touch(tmp_path, "val/a/1.jpg")
    assert find_images(tmp_path, split="val").root == tmp_path / "val"


@pytest.mark.parametrize(
    ("paths", "split", "message"),
    [
        (
            ["valid/a/1.jpg", "validation/a/1.jpg"],
            "val",
            r"valid/ and validation/ and no val/.*give that folder itself",
        ),
        (["train/a/1.jpg", "test/a/1.jpg", "dev/a/1.jpg"], "val", r"test/ and dev/ and no val/"),
        (["valid/a/1.jpg", "test/a/1.jpg"], "train", r"has no train/ folder, but test/ and valid/; expected"),
        (
            ["cat/1.jpg", "dog/1.jpg", "test/1.jpg"],
            "val",
            r"cat/ and dog/ beside test/.*may be a class",
        ),
        (["train/a/1.jpg", "val/a/1.jpg"], None, r"holds val/ and train/|holds train/ and val/"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path, paths, split, message):
    touch(tmp_path, *paths)
    with pytest.raises(DataError, match=message):
        find_images(tmp_path, split=split)


def test_a_class_of_the_model_is_one_whatever_its_name(tmp_path):
    touch(tmp_path, "dev/1.jpg", "ops/1.jpg")
    assert split_folder(tmp_path, "val", ("dev", "ops")) == (tmp_path, [])
    assert find_images(tmp_path, split="val", classes=("dev", "ops")).labels.tolist() == [0, 1]
    assert splits_in(tmp_path) == {"dev": "dev"}


def test_an_empty_folder_is_a_note_where_classes_are_known(tmp_path):
    touch(tmp_path, "cat/1.jpg", "leftover/notes.txt")
    (tmp_path / "empty").mkdir()
    found = find_images(tmp_path, split="val", classes=("cat", "dog"))
    assert found.labels.tolist() == [0]
    assert found.notes[0].endswith("empty (and 1 more): no images, and none of the model's classes: left out")
    touch(tmp_path, "eel/1.jpg")
    with pytest.raises(DataError, match="is none of the model's 2 classes"):
        find_images(tmp_path, split="val", classes=("cat", "dog"))


def test_what_was_not_looked_at_is_said(tmp_path):
    touch(tmp_path, "cat/1.jpg", "cat/2.heic", "dog/1.heic", "stray.jpg")
    found = find_images(tmp_path, split="val")
    assert (found.ignored, found.unread, found.classes) == ({".heic": 2}, ("dog",), ("cat", "dog"))
    assert [note.removeprefix(str(tmp_path)) for note in found.notes] == [
        ": not looked at: 2 .heic",
        "/dog has files, but none that is an image",
        ": 1 images lie outside the class folders: not looked at",
    ]
    with pytest.raises(DataError, match=r"no images below .*not looked at: 1 \.heic"):
        image_files(tmp_path / "dog")


@pytest.mark.parametrize("folder", ["train", "train/cat", "train/cat/deep"])
def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch, folder):
    """What was below it was missing without a word, or ended in a traceback."""
    touch(tmp_path, "train/cat/1.jpg", "train/cat/deep/2.jpg")
    scandir = os.scandir

    def refusing(path):  # by hand: root may read everything
        if os.fspath(path) == str(tmp_path / folder):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=rf"{folder} cannot be listed \(Permission denied\); let it be read"):
        find_images(tmp_path, split="train")


def test_folders_that_link_to_each_other_end(tmp_path):
    """They went round until the system refused: 82 images of two files."""
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "all").symlink_to(tmp_path)
    assert find_files(tmp_path / "a").images == ["1.jpg", "b/2.jpg"]
