"""Photos from files, flat folders and class folders, as a network sees them."""

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.class_list import guessed_order
from mobileone.data.photos import photo_pixels, read_photos, unlabelled_photos
from mobileone.data.pixels import to_tensor
from mobileone.data.shards.write import write_shards
from mobileone.errors import BadImageError, ConfigError, DataError
from mobileone.images.decode import read_image
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec

SPEC = InputSpec(size=32)
ANY_TWO = {"num_classes": 2, "class_names": None}


def write(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (40, 50), (level, 0, 0)).save(path)
    return path


@pytest.fixture
def flat(tmp_path):
    for index in range(5):
        write(tmp_path / "flat" / f"{index}.png", 50 * index)
    return tmp_path / "flat"


@pytest.fixture
def labelled(tmp_path):
    for index in range(5):
        write(tmp_path / "labelled" / f"class{index % 2}" / f"{index}.png", 50 * index)
    return tmp_path / "labelled"


def levels(pixels):
    return pixels[:, 0, 0, 0].tolist()


def test_pixels_are_what_the_transform_gives(flat):
    files = sorted(flat.iterdir())
    array = np.zeros((33, 44, 3), dtype=np.uint8)
    expected = [EvalTransform.from_spec(SPEC)(read_image(path)) for path in files]
    got = photo_pixels([*files, array], SPEC)
    assert torch.equal(
        got, torch.stack([to_tensor(view) for view in (*expected, np.zeros((32, 32, 3), np.uint8))])
    )


def test_a_flat_folder_has_no_labels(flat):
    (flat / ".hidden.png").write_bytes(b"")
    photos = read_photos(flat, most=10, **ANY_TWO)
    assert (len(photos), photos.labels) == (5, None)
    assert photos.title == f"5 images without labels of {flat}"
    assert levels(photos.views(SPEC, progress=False)) == [0, 50, 100, 150, 200]


def test_class_folders_have_labels(labelled):
    photos = read_photos(labelled, **ANY_TWO)
    assert photos.labels.tolist() == [0, 0, 0, 1, 1]
    assert levels(photos.views(SPEC, progress=False)) == [0, 100, 200, 50, 150]
    swapped = read_photos(labelled, num_classes=2, class_names=("class1", "class0"))
    assert swapped.labels.tolist() == [1, 1, 1, 0, 0]


def test_photos_beside_known_class_folders_are_left_out_and_beside_others_they_are_meant(labelled):
    write(labelled / "stray.png", 9)
    assert len(read_photos(labelled, num_classes=2, class_names=("class0", "class1"))) == 5
    assert read_photos(labelled, num_classes=2, class_names=("cat", "dog")).title.startswith("1 images")


def test_a_draw_is_seeded_and_keeps_labels_with_their_photos(labelled):
    photos = read_photos(labelled, most=3, **ANY_TWO)
    drawn = f"3 labelled images of {labelled}, a seeded draw from 5"
    assert photos.title == f"{drawn}; {guessed_order(('class0', 'class1'))}"
    names = ("class0", "class1")
    assert read_photos(labelled, num_classes=2, class_names=names, most=3).title == drawn
    by_level = {0: 0, 100: 0, 200: 0, 50: 1, 150: 1}
    drawn = levels(photos.views(SPEC, progress=False))
    assert [by_level[level] for level in drawn] == photos.labels.tolist()
    assert read_photos(labelled, most=3, **ANY_TWO).chosen == photos.chosen
    draws = {tuple(read_photos(labelled, most=3, seed=seed, **ANY_TWO).chosen) for seed in range(9)}
    assert len(draws) > 1


def test_batches_are_the_pixels_in_parts(flat):
    photos = read_photos(flat, **ANY_TWO)
    batches = list(photos.batches(SPEC, 2))
    assert list(map(len, batches)) == [2, 2, 1]
    assert np.array_equal(torch.cat(batches).permute(0, 2, 3, 1), photos.views(SPEC, progress=False))


def test_what_does_not_fit_is_refused(labelled, tmp_path):
    with pytest.raises(ConfigError, match="has 2 classes, the network has 7"):
        read_photos(labelled, num_classes=7, class_names=None)
    with pytest.raises(DataError, match="class0"):
        read_photos(labelled, num_classes=2, class_names=("cat", "dog"))
    with pytest.raises(DataError, match="no such data folder"):
        read_photos(tmp_path / "nowhere", **ANY_TWO)
    (labelled / "class0" / "0.png").write_bytes(b"no picture")
    with pytest.raises(BadImageError, match=r"class0/0\.png"):
        read_photos(labelled, **ANY_TWO).views(SPEC, progress=False)


def test_photos_without_labels_come_from_every_kind_of_place(labelled, tmp_path):
    everything = sorted(map(str, labelled.rglob("*.png")))
    assert list(unlabelled_photos(labelled)) == everything
    assert list(unlabelled_photos(everything[0])) == everything[:1]
    rows = "".join(f"{path}\n" for path in everything[:3])
    (tmp_path / "list.csv").write_text(f"image\n{rows}")
    assert list(unlabelled_photos(tmp_path / "list.csv")) == everything[:3]
    labelled.rename(tmp_path / "val")
    (tmp_path / "set").mkdir()
    (tmp_path / "val").rename(tmp_path / "set" / "val")
    write_shards(tmp_path / "set", tmp_path / "shards", num_workers=0)
    (shard,) = (tmp_path / "shards").glob("val-*.tar")
    assert photo_pixels(unlabelled_photos(shard), SPEC).shape == (5, 3, 32, 32)


@pytest.mark.parametrize("name", ["nowhere", "model.onnx"])
def test_what_holds_no_photos_is_refused_before_anything_is_read(name, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(DataError, match=f"photos are a folder, .*{name} is none"):
        unlabelled_photos(tmp_path / name)
