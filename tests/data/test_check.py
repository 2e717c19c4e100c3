"""The report on a data set finds what was put in it."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from mobileone.data import check, likeness
from mobileone.data.check import check_data
from mobileone.data.digits import load_digits
from mobileone.data.folder import find_images
from mobileone.data.likeness import difference_hash
from mobileone.images.orientation import EXIF_ORIENTATION


def photo(seed, size=(48, 40)):
    """Smooth noise, as different from another as photos are."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    """Ten training images, four for validation, and: one torn, twins, a leak, a look-alike, odd modes."""
    for split, number in (("train", 10), ("val", 4)):
        for index in range(number):
            path = tmp_path / split / ("cat", "dog")[index % 2] / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo((split == "val") * 100 + index).save(path, quality=95)
    train, val = tmp_path / "train", tmp_path / "val"
    (train / "cow").mkdir()
    (train / "cat" / "torn.jpg").write_bytes((train / "cat" / "0.jpg").read_bytes()[:-100])
    (train / "dog" / "twin.jpg").write_bytes((train / "cat" / "0.jpg").read_bytes())
    (train / "dog" / "same.jpg").write_bytes((train / "dog" / "1.jpg").read_bytes())
    (val / "cat" / "leak.jpg").write_bytes((train / "cat" / "2.jpg").read_bytes())
    photo(4, (96, 80)).save(val / "cat" / "alike.png")
    photo(200).convert("CMYK").save(val / "dog" / "cmyk.jpg")
    frames = [photo(201).convert("P"), photo(202).convert("P")]
    frames[0].save(val / "dog" / "moving.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    photo(203).save(val / "dog" / "turned.jpg", exif=exif)
    return tmp_path


def names(group):
    return {"/".join(name.split("/")[-3:]) for name in group}


@pytest.mark.parametrize("workers", [0, 2])
def test_everything_that_was_hidden_is_found(folder, workers, monkeypatch):
    monkeypatch.setattr(check, "CHUNK", 3)
    train = find_images(folder, split="train")
    sources = {"train": train, "val": find_images(folder, split="val", classes=train.classes)}
    told = []
    report = check_data(
        sources, num_workers=workers, on_images=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (22, 22)
    first, second = report.splits["train"], report.splits["val"]
    assert (first.num_images, second.num_images, report.num_bad) == (13, 9, 1)
    assert names([image.path for image in first.bad]) == {"train/cat/torn.jpg"}
    assert "Premature end" in first.bad[0].reason
    assert first.per_class == {"cat": 6, "cow": 0, "dog": 7}
    assert [names(group) for group in first.duplicates] == [
        {"train/cat/0.jpg", "train/dog/twin.jpg"},
        {"train/dog/1.jpg", "train/dog/same.jpg"},
    ]
    assert [names(group) for group in report.shared] == [{"train/cat/2.jpg", "val/cat/leak.jpg"}]
    assert [names(group) for group in report.contradictory] == [{"train/cat/0.jpg", "train/dog/twin.jpg"}]
    assert [names(pair) for pair in report.alike] == [{"train/cat/4.jpg", "val/cat/alike.png"}]
    assert first.kinds == {"JPEG": 12}
    kinds = {"JPEG": 5, "PNG": 1, "JPEG CMYK": 1, "GIF P animated": 1, "JPEG rotated": 1}
    assert second.kinds == kinds
    assert (second.height, second.width) == ((40, 40, 80), (40, 48, 96))
    json.dumps(report.to_dict(), allow_nan=False)


def test_sources_without_files_are_checked_too():
    report = check_data({"val": load_digits("val")}, num_workers=0)
    assert report.splits["val"].kinds == {"pixels": 360}
    assert report.alike == ()


def test_the_hash_survives_coding_and_scaling_and_tells_pictures_apart():
    def hashed(image):
        return difference_hash(torch.from_numpy(np.array(image)).permute(2, 0, 1))

    def apart(one, other):
        return (one ^ other).bit_count()

    for seed in range(20):
        file = io.BytesIO()
        photo(seed, (200, 160)).save(file, "JPEG", quality=70)
        assert apart(hashed(photo(seed)), hashed(Image.open(file))) <= likeness.MAX_BITS
        assert apart(hashed(photo(seed)), hashed(photo(seed + 50))) > 5 * likeness.MAX_BITS


def test_close_hashes_are_found_whichever_bits_differ(monkeypatch):
    """Against all pairs compared one by one."""
    monkeypatch.setattr(likeness, "_thumbnail", lambda source, index: torch.zeros(3, 32, 32))
    chance = np.random.default_rng(0)
    train = [int(value) for value in chance.integers(0, 2**63, 60)]
    bits = chance.integers(0, 63, (60, 2)).tolist()
    val = [value ^ (1 << a) ^ (1 << b) for value, (a, b) in zip(train, bits, strict=True)]
    val += [int(value) for value in chance.integers(0, 2**63, 20)]

    class Named:
        def name(self, index):
            return str(index)

    found = {
        name: [
            check.ImageFacts("", 1, 1, "", str((name, i)).encode(), value) for i, value in enumerate(values)
        ]
        for name, values in (("train", train), ("val", val))
    }
    pairs = check._alike({"train": Named(), "val": Named()}, found)
    expected = {
        (str(i), str(j))
        for i, one in enumerate(train)
        for j, other in enumerate(val)
        if (one ^ other).bit_count() <= likeness.MAX_BITS
    }
    assert len(expected) >= 60
    assert set(pairs) == expected
    views = iter(range(10**6))
    monkeypatch.setattr(
        likeness, "_thumbnail", lambda source, index: torch.tensor([20.0 * (next(views) % 2)])
    )
    assert check._alike({"train": Named(), "val": Named()}, found) == []  # the same hash is not enough
