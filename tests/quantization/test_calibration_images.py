"""Which photos are taken, and what is suspicious about them."""

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.data.photos import photo_pixels
from mobileone.errors import BadImageError, ConfigError, DataError
from mobileone.input_spec import InputSpec
from mobileone.quantization.calibration_images import calibration_images, doubts

SPEC = InputSpec(size=16)


@pytest.fixture
def folder(tmp_path):
    """120 photos of one colour each, in two sub-folders."""
    for index in range(120):
        path = tmp_path / f"part{index % 2}" / f"{index:03}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.new("RGB", (20, 20), (index, 0, 255 - index)).save(path)
    return tmp_path


def test_a_hundred_are_drawn_by_the_seed(folder):
    drawn = calibration_images(folder, SPEC)
    assert drawn.shape == (100, 3, 16, 16)
    assert torch.equal(drawn, calibration_images(folder, SPEC))
    assert not torch.equal(drawn, calibration_images(folder, SPEC, seed=1))
    assert len(drawn.unique(dim=0)) == 100


def test_all_are_taken_in_the_order_of_their_paths(folder):
    everything = calibration_images(folder, SPEC, num_images=120)
    assert torch.equal(everything, photo_pixels(sorted(folder.rglob("*.png")), SPEC))


def test_what_there_is_not_is_refused(folder):
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        calibration_images(folder, SPEC, num_images=0)
    with pytest.raises(DataError, match=r"121 calibration images are wanted, .* holds 120"):
        calibration_images(folder, SPEC, num_images=121)
    with pytest.raises(DataError, match=r"photos are a folder, .* nowhere is none"):
        calibration_images("nowhere", SPEC)
    (folder / "part1" / "001.png").write_bytes(b"no picture")
    with pytest.raises(BadImageError, match=r"001\.png"):
        calibration_images(folder, SPEC, num_images=120)


def test_flat_and_few_images_are_doubted():
    photos = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (16, 3, 8, 8), dtype=np.uint8))
    logits = torch.eye(16, 4)
    assert doubts(photos, logits) == []
    black = torch.zeros_like(photos)
    assert "every calibration image is one colour" in doubts(black, logits)[0]
    mixed = torch.cat([photos[:15], black[:1]])
    assert doubts(mixed, logits) == ["1 of 16 calibration images are one colour: they tell little of ranges"]
    assert "3 calibration images leave ranges" in doubts(photos[:3], logits[:3])[0]


def test_one_class_is_noticed():
    pixels = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8)
    logits = torch.zeros(16, 3)
    logits[:, 1] = 1
    (line,) = doubts(pixels, logits)
    assert "one class in every calibration image" in line
    logits[0, 2] = 2
    assert doubts(pixels, logits) == []
