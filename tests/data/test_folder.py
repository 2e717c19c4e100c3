"""Finding images in class folders."""

from __future__ import annotations

import os
import pickle
import zipfile

import numpy as np
import pytest

from mobileone.data.folder import PackedNames, find_images
from mobileone.errors import DataError
from mobileone.images.eval_transform import EvalTransform


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(os.fsencode(path))


def relative(folder):
    return [folder.path(index).relative_to(folder.root).as_posix() for index in range(len(folder))]


def test_splits_classes_and_order(tmp_path):
    touch(
        tmp_path, "train/dog/2.jpg", "train/dog/10.jpg", "train/cat/z.png", "val/cat/1.jpg", "val/dog/1.jpg"
    )
    train = find_images(tmp_path, split="train")
    assert train.classes == ("cat", "dog")
    assert relative(train) == ["cat/z.png", "dog/10.jpg", "dog/2.jpg"]
    assert train.labels.tolist() == [0, 1, 1]
    assert len(train) == 3
    assert train.read(1).data == b"train/dog/10.jpg"
    assert train.read(1).name == train.name(1) == str(tmp_path / "train/dog/10.jpg")
    assert relative(find_images(str(tmp_path), split="val")) == ["cat/1.jpg", "dog/1.jpg"]


def test_a_flat_folder_is_a_test_set(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    for split in ("val", None):
        assert relative(find_images(tmp_path, split=split)) == ["a/1.jpg", "b/1.jpg"]
    with pytest.raises(DataError, match="has no train/ folder"):
        find_images(tmp_path, split="train")


def test_no_split_is_mistaken_for_another(tmp_path):
    """With train/ but no val/, the training images must not be what is tested on."""
    touch(tmp_path, "train/a/1.jpg")
    with pytest.raises(DataError, match="has no val/ folder"):
        find_images(tmp_path, split="val")


def test_extensions_depth_hidden_files(tmp_path):
    touch(
        tmp_path,
        "a/1.JPG", "a/2.jpeg", "a/3.PnG", "a/4.bmp", "a/5.webp", "a/6.gif", "a/7.tif", "a/8.TIFF", "a/9.ppm",
        "a/notes.txt", "a/10.jpg.part", "a/.hidden.jpg", "a/.git/x.jpg", "a/deep/er/x.jpg", ".cache/x.jpg",
    )  # fmt: skip
    found = relative(find_images(tmp_path, split=None))
    expected = "1.JPG 2.jpeg 3.PnG 4.bmp 5.webp 6.gif 7.tif 8.TIFF 9.ppm deep/er/x.jpg"
    assert " ".join(name.removeprefix("a/") for name in found) == expected


def test_links_are_followed_and_loops_end(tmp_path):
    touch(tmp_path, "elsewhere/1.jpg", "elsewhere/sub/2.jpg", "data/b/1.jpg")
    (tmp_path / "data/a").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere/sub/up").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    found = find_images(tmp_path / "data", split="val")
    assert relative(found) == ["a/1.jpg", "a/sub/2.jpg", "b/1.jpg"]


def test_labels_index_into_the_models_classes(tmp_path):
    touch(tmp_path, "val/n3/1.jpg", "val/n1/1.jpg")
    found = find_images(tmp_path, split="val", classes=["n0", "n1", "n2", "n3"])
    assert found.classes == ("n0", "n1", "n2", "n3")
    assert found.labels.tolist() == [1, 3]
    with pytest.raises(DataError, match=r"val/n3 is none of the model's 2 classes \(n1 … n2\)"):
        find_images(tmp_path, split="val", classes=["n1", "n2"])
    touch(tmp_path, "val/n7/1.jpg")
    with pytest.raises(DataError, match=r"n3 \(and 1 more\) is none"):
        find_images(tmp_path, split="val", classes=["n1", "n2"])


def test_an_empty_class_is_a_class_without_images(tmp_path):
    touch(tmp_path, "a/1.jpg", "c/1.jpg")
    (tmp_path / "b").mkdir()
    found = find_images(tmp_path, split="val")
    assert found.classes == ("a", "b", "c")
    assert found.labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["val/a/readme.txt"], "no images below the 1 folders"),
        (["val/1.jpg", "val/2.jpg"], "has no class folders; expected"),
        (["1.jpg"], "has no class folders"),
    ],
)
def test_what_is_missing_is_said(tmp_path, paths, message):
    touch(tmp_path, *paths)
    with pytest.raises(DataError, match=message) as caught:
        find_images(tmp_path, split="val")
    assert "\n" not in str(caught.value)


def test_missing_root(tmp_path):
    with pytest.raises(DataError, match="no such data folder"):
        find_images(tmp_path / "typo", split="val")


def test_relative_roots_become_absolute(tmp_path, monkeypatch):
    """Workers do not share this process's working directory."""
    touch(tmp_path, "data/a/1.jpg")
    monkeypatch.chdir(tmp_path)
    found = find_images("data", split="val")
    monkeypatch.chdir("/")
    assert found.read(0).data == b"data/a/1.jpg"


def test_names_that_are_not_utf8(tmp_path):
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_bytes(b"x")
    found = find_images(tmp_path, split="val")
    assert found.read(0).data == b"x"
    assert found.name(0).endswith("a/caf\\xe9.jpg")


def test_a_million_names_travel_to_workers_cheaply():
    names = PackedNames.pack(f"n01440764/n01440764_{number}.JPEG" for number in range(100_000))
    assert names[0] == "n01440764/n01440764_0.JPEG"
    assert names[99_999] == "n01440764/n01440764_99999.JPEG"
    assert len(pickle.dumps(names)) / len(names) < 45
    with pytest.raises(IndexError):
        names[100_000]
    with pytest.raises(IndexError):
        names[-1]


def test_the_real_photos(photos):
    assert len(photos) == 300
    assert all(name.startswith("n") and len(name) == 9 for name in photos.classes)
    assert {(photos.read(i).height, photos.read(i).width) for i in range(0, 300, 30)} == {(227, 227)}


def test_imagenette(imagenette_zip, tmp_path):
    with zipfile.ZipFile(imagenette_zip) as archive:
        members = [name for name in archive.namelist() if name.lower().endswith(".jpeg")]
        archive.extractall(tmp_path, members[::150])
    train = find_images(tmp_path / "imagenette_128", split="train")
    val = find_images(tmp_path / "imagenette_128", split="val")
    assert train.classes == val.classes
    assert len(train.classes) == 10
    transform = EvalTransform(size=112, resize_size=128)
    means = np.array([transform(val.read(index)).mean() for index in range(len(val))])
    assert len(means) > 20
    assert 60 < means.mean() < 180


def test_classes_are_text_whatever_bytes_their_folders_have(tmp_path):
    touch(tmp_path, "caf\udce9/1.jpg", "tea/1.jpg")
    found = find_images(tmp_path, split="val")
    assert found.classes == ("caf\\xe9", "tea")
    assert found.path(0).read_bytes()
    assert find_images(tmp_path, split="val", classes=found.classes[::-1]).labels.tolist() == [1, 0]
    touch(tmp_path, "caf\\xe9/1.jpg")
    with pytest.raises(DataError, match=r"two folders that read caf\\xe9; rename one"):
        find_images(tmp_path, split="val")
