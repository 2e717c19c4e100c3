"""A network's view in evaluation."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.data.augment import TrainTransform
from mobileone.data.pixels import normalize
from mobileone.errors import BadImageError, ConfigError
from mobileone.images.decode import DecodedImage, EncodedImage
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec

PILLOW_FILTERS = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def to_array(tensor):
    return tensor.permute(1, 2, 0).numpy().astype(int)


def decoded(image):
    return DecodedImage("image", to_tensor(image))


class Spy:
    """An image that remembers what it was asked to decode to."""

    def __init__(self, image):
        self.image = image
        self.name, self.height, self.width = image.name, image.height, image.width

    def decode(self, *, min_height=None, min_width=None):
        self.asked = (min_height, min_width)
        self.pixels = self.image.decode(min_height=min_height, min_width=min_width)
        return self.pixels


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (227, 227), (64, 300)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_eval_transform_is_resize_and_centre_crop(picture, height, width, interpolation):
    image = picture(12, height, width)
    short, long = min(height, width), max(height, width)
    new_long = int(64 * long / short)
    new = (64, new_long) if width >= height else (new_long, 64)
    resized = image.resize(new[::-1], PILLOW_FILTERS[interpolation])
    top, left = round((new[0] - 56) / 2), round((new[1] - 56) / 2)
    expected = np.asarray(resized.crop((left, top, left + 56, top + 56))).astype(int)
    transform = EvalTransform(size=56, resize_size=64, interpolation=interpolation)
    result = transform(decoded(image))
    assert result.shape == (3, 56, 56)
    assert np.abs(to_array(result) - expected).max() <= 2


def test_eval_decodes_at_full_size(picture, encode):
    image = Spy(EncodedImage("jpeg", encode(picture(13, 256, 256), "JPEG")))
    EvalTransform(size=16, resize_size=16)(image)
    assert image.asked == (None, None)
    assert image.pixels.shape == (3, 256, 256)


def test_eval_of_an_image_of_the_right_size_changes_nothing(picture):
    image = decoded(picture(14, 64, 64))
    assert torch.equal(EvalTransform(size=64, resize_size=64)(image), image.pixels)
    assert torch.equal(EvalTransform(size=60, resize_size=64)(image), image.pixels[:, 2:62, 2:62])


def test_eval_transform_from_a_models_input_spec():
    spec = InputSpec(size=192, crop=0.9, interpolation="bicubic")
    assert EvalTransform.from_spec(spec) == EvalTransform(
        size=192, resize_size=213, interpolation="bicubic", border=(124, 116, 104)
    )
    assert EvalTransform.from_spec(InputSpec(crop=1.0)).resize_size == 224
    with pytest.raises(ConfigError, match="need 1 ≤ size ≤ resize_size, got 64 and 32"):
        EvalTransform(size=64, resize_size=32)


def test_a_needle_does_not_fill_the_memory():
    needle = DecodedImage("needle.png", torch.zeros(3, 1, 10_000, dtype=torch.uint8))
    with pytest.raises(BadImageError, match=r"^needle\.png: 10000×1 pixels is too elongated"):
        EvalTransform(size=224, resize_size=256)(needle)
    assert TrainTransform(size=224)(needle, torch.Generator().manual_seed(0)).shape == (3, 224, 224)


def test_photos_are_turned_unless_the_spec_says_otherwise(picture, encode):
    image = picture(3, 40, 64)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    photo = EncodedImage("photo", encode(image, "PNG", exif=exif))
    turned = decoded(image.transpose(PIL.Image.Transpose.ROTATE_270))
    for spec, same in ((InputSpec(size=24), turned), (InputSpec(size=24, exif=False), decoded(image))):
        transform = EvalTransform.from_spec(spec)
        assert torch.equal(transform(photo), transform(same))


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (227, 227), (64, 300)])
@pytest.mark.parametrize("size", [(56, 32), (32, 56)])
def test_a_rectangle_is_cut_from_the_least_that_holds_it(picture, height, width, size):
    image = picture(12, height, width)
    spec = InputSpec(size=size, crop=0.8)
    least = [round(side / 0.8) for side in size]
    scale = max(least[0] / height, least[1] / width)
    new = (int(height * scale + 1e-9), int(width * scale + 1e-9))
    assert min(new[0] - least[0], new[1] - least[1]) == 0
    resized = image.resize(new[::-1], PILLOW_FILTERS["bilinear"])
    top, left = round((new[0] - size[0]) / 2), round((new[1] - size[1]) / 2)
    expected = np.asarray(resized.crop((left, top, left + size[1], top + size[0]))).astype(int)
    result = EvalTransform.from_spec(spec)(decoded(image))
    assert result.shape == (3, *size)
    assert np.abs(to_array(result) - expected).max() <= 2


@pytest.mark.parametrize("size", [48, (56, 32), (32, 56)])
@pytest.mark.parametrize(("height", "width"), [(90, 60), (60, 90), (70, 70), (3, 300)])
def test_a_letterbox_shows_all_of_an_image_in_the_middle(picture, height, width, size):
    image = picture(12, height, width)
    spec = InputSpec(size=size, fit="letterbox")
    result = to_array(EvalTransform.from_spec(spec)(decoded(image)))
    assert result.shape == (spec.height, spec.width, 3)
    scale = min(spec.height / height, spec.width / width)
    new = (max(1, round(height * scale)), max(1, round(width * scale)))
    top, left = (spec.height - new[0]) // 2, (spec.width - new[1]) // 2
    inner = np.asarray(image.resize(new[::-1], PILLOW_FILTERS["bilinear"])).astype(int)
    shown = result[top : top + new[0], left : left + new[1]]
    assert np.abs(shown - inner).max() <= 2
    shown[:] = spec.border
    assert (result == spec.border).all()


def test_a_letterbox_s_border_is_nothing_to_the_network():
    spec = InputSpec(size=(40, 20), fit="letterbox")
    white = DecodedImage("white", torch.full((3, 20, 20), 255, dtype=torch.uint8))
    assert normalize(EvalTransform.from_spec(spec)(white)[None], spec)[0, :, 0].abs().max() < 0.01
    grey = InputSpec(size=8, mean=(0.5,), std=(0.5,))
    assert grey.border == (128, 128, 128)
