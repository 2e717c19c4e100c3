"""Whatever holds a picture is the same picture to the transforms."""

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.errors import BadImageError, ConfigError
from mobileone.images.any_image import as_image
from mobileone.images.decode import EncodedImage, read_image


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)


def test_every_kind_gives_the_same_pixels(pixels, tmp_path):
    path = tmp_path / "photo.png"
    PIL.Image.fromarray(pixels).save(path)
    encoded = read_image(path)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    kinds = (path, str(path), encoded, PIL.Image.open(path), pixels, pixels[:, ::-1][:, ::-1], tensor)
    for given in kinds:
        image = as_image(given)
        assert (image.height, image.width) == (10, 20)
        assert np.array_equal(image.decode(), pixels)
    assert as_image(path).name == str(path)
    assert as_image(pixels).name == "image"


def test_grey_pictures_become_rgb():
    assert np.array_equal(as_image(PIL.Image.new("L", (4, 2), 7)).decode(), np.full((2, 4, 3), 7))


def test_an_image_of_ones_own_is_taken_as_it_is():
    class Stripe:
        name, height, width = "stripe", 2, 3

        def decode(self, *, min_height=None, min_width=None):
            return np.zeros((2, 3, 3), dtype=np.uint8)

    stripe = Stripe()
    assert as_image(stripe) is stripe


def test_files_are_opened_late_but_read_at_once(tmp_path):
    with pytest.raises(BadImageError, match=r"missing\.png: cannot be read"):
        as_image(tmp_path / "missing.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert isinstance(as_image(tmp_path / "bad.png"), EncodedImage)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (3, "int"),
        (None, "NoneType"),
        (np.zeros((4, 4, 3)), r"ndarray of float64 \(4, 4, 3\)"),
        (np.zeros((3, 4, 4), dtype=np.uint8), r"ndarray of uint8 \(3, 4, 4\)"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"Tensor of torch.uint8 \(4, 4, 3\)"),
    ],
)
def test_other_things_are_refused_by_kind(wrong, named):
    with pytest.raises(ConfigError, match=f"an image is a path, .* got {named}$"):
        as_image(wrong)


def test_damaged_content_is_an_image_until_it_is_asked():
    damaged = EncodedImage("damaged.jpg", b"no picture")
    assert as_image(damaged) is damaged
    with pytest.raises(BadImageError, match=r"damaged\.jpg"):
        _ = damaged.height
