"""A network's view in evaluation."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.data.augment import TrainTransform
from mobileone.data.pixels import normalize, to_tensor
from mobileone.errors import BadImageError, ConfigError
from mobileone.images.decode import DecodedImage, EncodedImage
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec

PILLOW_FILTERS = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}


def decoded(image):
    return DecodedImage("image", np.array(image))


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
    assert result.shape == (56, 56, 3)
    assert np.abs(result - expected).max() <= 1
    assert (result != expected).mean() < 0.01


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(375, 500), (500, 333), (1000, 90), (57, 64)])
def test_the_view_is_pillows_resize_of_the_cut_to_the_byte(picture, size, interpolation):
    """Nothing but Pillow defines the pixels: this is all of it."""
    image = picture(15, *size)
    scale = min(size) / 64
    long = int(64 * max(size) / min(size))
    height, width = (long, 64) if size[0] >= size[1] else (64, long)
    top, left = round((height - 56) / 2), round((width - 56) / 2)
    y, x = size[0] / height, size[1] / width
    assert min(x, y) == pytest.approx(scale)
    box = (left * x, top * y, (left + 56) * x, (top + 56) * y)
    expected = np.asarray(image.resize((56, 56), PILLOW_FILTERS[interpolation], box))
    view = EvalTransform(size=56, resize_size=64, interpolation=interpolation)(decoded(image))
    assert np.array_equal(view, expected)


@pytest.mark.parametrize("size", [(37, 41), (41, 37), (999, 1000), (123, 7)])
def test_the_cut_ends_at_the_edge_where_nothing_is_cut_off(picture, size):
    for resize_size in range(1, 100, 7):
        view = EvalTransform(size=resize_size, resize_size=resize_size)(decoded(picture(16, *size)))
        assert view.shape == (resize_size, resize_size, 3)


def test_eval_decodes_at_full_size(picture, encode):
    image = Spy(EncodedImage("jpeg", encode(picture(13, 256, 256), "JPEG")))
    EvalTransform(size=16, resize_size=16)(image)
    assert image.asked == (None, None)
    assert image.pixels.shape == (256, 256, 3)


def test_eval_of_an_image_of_the_right_size_changes_nothing(picture):
    image = decoded(picture(14, 64, 64))
    assert np.array_equal(EvalTransform(size=64, resize_size=64)(image), image.pixels)
    assert np.array_equal(EvalTransform(size=60, resize_size=64)(image), image.pixels[2:62, 2:62])


def test_eval_transform_from_a_models_input_spec():
    spec = InputSpec(size=192, crop=0.9, interpolation="bicubic")
    assert EvalTransform.from_spec(spec) == EvalTransform(
        size=192, resize_size=213, interpolation="bicubic", border=(124, 116, 104)
    )
    assert EvalTransform.from_spec(InputSpec(crop=1.0)).resize_size == 224
    with pytest.raises(ConfigError, match="need 1 ≤ size ≤ resize_size, got 64 and 32"):
        EvalTransform(size=64, resize_size=32)


def test_a_needle_does_not_fill_the_memory():
    needle = DecodedImage("needle.png", np.zeros((1, 10_000, 3), dtype=np.uint8))
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
        assert np.array_equal(transform(photo), transform(same))


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
    assert result.shape == (*size, 3)
    assert np.abs(result - expected).max() <= 1


@pytest.mark.parametrize("size", [48, (56, 32), (32, 56)])
@pytest.mark.parametrize(("height", "width"), [(90, 60), (60, 90), (70, 70), (3, 300)])
def test_a_letterbox_shows_all_of_an_image_in_the_middle(picture, height, width, size):
    image = picture(12, height, width)
    spec = InputSpec(size=size, fit="letterbox")
    result = EvalTransform.from_spec(spec)(decoded(image))
    assert result.shape == (spec.height, spec.width, 3)
    scale = min(spec.height / height, spec.width / width)
    new = (max(1, round(height * scale)), max(1, round(width * scale)))
    top, left = (spec.height - new[0]) // 2, (spec.width - new[1]) // 2
    inner = np.asarray(image.resize(new[::-1], PILLOW_FILTERS["bilinear"])).astype(int)
    shown = result[top : top + new[0], left : left + new[1]]
    assert (shown == inner).all()
    shown[:] = spec.border
    assert (result == spec.border).all()


def test_a_letterbox_s_border_is_nothing_to_the_network():
    spec = InputSpec(size=(40, 20), fit="letterbox")
    white = DecodedImage("white", np.full((20, 20, 3), 255, dtype=np.uint8))
    view = to_tensor(EvalTransform.from_spec(spec)(white))
    assert normalize(view[None], spec)[0, :, 0].abs().max() < 0.01
    grey = InputSpec(size=8, mean=(0.5,), std=(0.5,))
    assert grey.border == (128, 128, 128)


@pytest.mark.parametrize("fit", ["crop", "letterbox"])
def test_large_jpegs_may_be_decoded_at_a_part_of_their_size(picture, encode, fit):
    exact = EvalTransform(size=56, resize_size=64, fit=fit)
    scaled = EvalTransform(size=56, resize_size=64, fit=fit, scaled_decoding=True)
    image = Spy(EncodedImage("large", encode(picture(17, 300, 400), "JPEG", quality=95)))
    off = np.abs(scaled(image).astype(int) - exact(image.image))
    assert image.pixels.shape[0] in (75, 150)
    assert 0 < off.mean() < 3
    small = Spy(EncodedImage("small", encode(picture(17, 80, 96), "JPEG", quality=95)))
    assert np.array_equal(scaled(small), exact(small.image))
    assert small.asked == (None, None)
