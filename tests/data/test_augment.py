"""Crops, resizing and the two transforms."""

from __future__ import annotations

import io
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mobileone.data.augment import Box, TrainTransform, draw_crop
from mobileone.data.auto_augment import AutoAugment
from mobileone.data.pixels import to_tensor
from mobileone.data.resize import resize
from mobileone.errors import ConfigError
from mobileone.images.decode import DecodedImage, EncodedImage

PILLOW_FILTERS = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def to_array(tensor):
    return tensor.permute(1, 2, 0).numpy().astype(int)


def held_upright(image, encode):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return EncodedImage("photo", encode(image, "PNG", exif=exif))


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


# --- crops


@settings(max_examples=200, deadline=None)
@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    seed=st.integers(0, 2**31),
    low=st.floats(0.01, 1),
)
def test_a_crop_lies_inside(height, width, seed, low):
    box = draw_crop(height, width, scale=(low, 1.0), generator=generator(seed))
    assert box.height >= 1
    assert box.width >= 1
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width


def test_crop_statistics():
    """On a large square image: area uniform in scale, log ratio uniform, position uniform."""
    source, side = generator(1), 1000
    boxes = [draw_crop(side, side, scale=(0.08, 0.5), generator=source) for _ in range(4000)]
    areas = np.array([box.height * box.width / side**2 for box in boxes])
    assert abs(areas.mean() - 0.29) < 0.01
    assert abs(areas.std() - 0.42 / math.sqrt(12)) < 0.005
    assert areas.min() > 0.079
    assert areas.max() < 0.501
    ratios = np.log([box.width / box.height for box in boxes])
    assert abs(ratios.mean()) < 0.01
    assert abs(ratios.std() - 2 * math.log(4 / 3) / math.sqrt(12)) < 0.005
    assert abs(ratios).max() < math.log(4 / 3) + 0.01
    for place in (
        [box.top / (side - box.height) for box in boxes],
        [box.left / (side - box.width) for box in boxes],
    ):
        assert abs(np.mean(place) - 0.5) < 0.02
        assert abs(np.std(place) - 1 / math.sqrt(12)) < 0.01
        assert min(place) < 0.01
        assert max(place) > 0.99


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 1000), Box(0, 433, 100, 133)), ((1000, 100), Box(433, 0, 133, 100))],
)
def test_where_no_box_fits_the_largest_central_one_is_taken(size, expected):
    assert draw_crop(*size, scale=(1.0, 1.0), generator=generator()) == expected


def test_a_crop_of_everything():
    assert draw_crop(70, 90, scale=(1.0, 1.0), ratio=(9 / 7, 9 / 7), generator=generator()) == (0, 0, 70, 90)


# --- resizing


# --- training


def test_train_transform_is_crop_resize_flip(picture):
    image = decoded(picture(6, 80, 100))
    transform = TrainTransform(size=32)
    flipped = 0
    for seed in range(20):
        result = transform(image, generator(seed))
        assert result.shape == (3, 32, 32)
        assert result.dtype == torch.uint8
        box = draw_crop(80, 100, generator=generator(seed))
        cut = to_tensor(image.pixels)[:, box.top : box.top + box.height, box.left : box.left + box.width]
        plain = resize(cut, (32, 32))
        assert torch.equal(result, plain) or torch.equal(result, plain.flip(-1))
        flipped += torch.equal(result, plain.flip(-1))
    assert 4 <= flipped <= 16


def test_same_generator_state_same_view(picture):
    image, transform = decoded(picture(7, 60, 60)), TrainTransform(size=24, policy=AutoAugment())
    assert torch.equal(transform(image, generator(3)), transform(image, generator(3)))
    assert not torch.equal(transform(image, generator(3)), transform(image, generator(4)))


def test_a_fixed_number_of_draws(picture):
    """Images of any shape leave the generator in the same state."""
    states = []
    for height, width in ((50, 50), (5, 500)):
        source = generator(0)
        TrainTransform(size=16)(decoded(picture(0, height, width)), source)
        states.append(torch.rand(1, generator=source).item())
    assert states[0] == states[1]


def test_flip_and_interpolation_probabilities(picture):
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    image = decoded(picture(8, 64, 64))
    for chance, low, high in ((0.0, 0, 0), (0.25, 40, 110), (1.0, 300, 300)):
        transform = TrainTransform(size=64, flip=chance, **whole)
        flips = sum(
            not torch.equal(transform(image, generator(s)), to_tensor(image.pixels)) for s in range(300)
        )
        assert low <= flips <= high
    small = {mode: resize(to_tensor(image.pixels), (32, 32), interpolation=mode) for mode in PILLOW_FILTERS}
    assert not torch.equal(small["bilinear"], small["bicubic"])
    transform = TrainTransform(size=32, flip=0.0, interpolation=("bilinear", "bicubic"), **whole)
    seen = Counter()
    for seed in range(100):
        result = transform(image, generator(seed))
        seen.update(mode for mode, expected in small.items() if torch.equal(result, expected))
    assert sum(seen.values()) == 100
    assert min(seen.values()) > 30


def test_jpeg_scaling_leaves_the_crop_at_least_as_large_as_the_result(picture, encode):
    jpeg = EncodedImage("jpeg", encode(picture(9, 400, 600), "JPEG"))
    factors = Counter()
    for seed in range(60):
        image = Spy(jpeg)
        TrainTransform(size=96)(image, generator(seed))
        box = draw_crop(400, 600, generator=generator(seed))
        factor = 400 / image.pixels.shape[0]
        factors[round(factor)] += 1
        smallest = min(box.height, box.width)
        assert smallest / factor >= 96 or image.pixels.shape[0] == 400
        if factor < 8:  # and no larger than it need be
            assert smallest / (2 * factor) < 97
    assert {1, 2, 4} <= set(factors)


def test_jpeg_scaling_hardly_changes_the_view(picture, encode):
    data = encode(picture(10, 400, 600), "JPEG", quality=95)
    scaled, full = EncodedImage("jpeg", data), decoded(PIL.Image.open(io.BytesIO(data)))
    transform = TrainTransform(size=64)
    for seed in range(20):
        difference = to_array(transform(scaled, generator(seed))) - to_array(transform(full, generator(seed)))
        assert np.abs(difference).mean() < 4


def test_a_policy_is_applied(picture):
    image = decoded(picture(11, 64, 64))
    plain, augmented = TrainTransform(size=32), TrainTransform(size=32, policy=AutoAugment())
    changed = sum(
        not torch.equal(plain(image, generator(s)), augmented(image, generator(s))) for s in range(40)
    )
    assert 25 < changed <= 40


def test_erasing_comes_last_and_leaves_the_rest_alone(picture):
    image = decoded(picture(12, 64, 64))
    plain, erased = TrainTransform(size=32), TrainTransform(size=32, erasing=1.0)
    for seed in range(20):
        a, b = plain(image, generator(seed)), erased(image, generator(seed))
        assert 0 < (a != b).any(0).float().mean() < 0.4


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"interpolation": ()},
        {"interpolation": ("nearest",)},
        {"flip": 1.5},
        {"scale": (0.0, 1.0)},
        {"scale": (0.5, 0.2)},
        {"scale": (0.5, 1.2)},
        {"ratio": (0.0, 1.0)},
        {"ratio": (2.0, 1.0)},
        {"erasing": -0.1},
        {"erasing": 1.1},
    ],
)
def test_train_transform_refuses(change):
    with pytest.raises(ConfigError):
        replace(TrainTransform(size=32), **change)


# --- evaluation


def test_photos_are_turned_before_they_are_cut(picture, encode):
    image = picture(3, 40, 64)
    photo, upright = held_upright(image, encode), decoded(image.transpose(PIL.Image.Transpose.ROTATE_270))
    for exif, same in ((True, upright), (False, decoded(image))):
        transform = TrainTransform(size=16, exif=exif)
        assert torch.equal(transform(photo, generator()), transform(same, generator()))


def horizontal_gradient(height, width):
    """Red says where in the image a column is, green where a row is."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)[None]
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    return DecodedImage("gradient", pixels)


def stretch(view, shape):
    """Width over height of the part of the image that a view shows, each in the pixels it has there."""
    across = (int(view[0, 5, -1]) - int(view[0, 5, 0])) / 255 * shape[1] / view.shape[2]
    down = (int(view[1, -1, 5]) - int(view[1, 0, 5])) / 255 * shape[0] / view.shape[1]
    return abs(across / down)


@pytest.mark.parametrize("size", [(64, 32), (32, 64), 48])
def test_views_of_a_rectangle_are_stretched_no_more_than_of_a_square(size):
    image, transform = horizontal_gradient(400, 500), TrainTransform(size=size, scale=(0.3, 0.5), flip=0)
    factors = [stretch(transform(image, generator(seed)), (400, 500)) for seed in range(60)]
    assert 0.7 < min(factors) < 0.85
    assert 1.2 < max(factors) < 1.45


@pytest.mark.parametrize(("height", "width"), [(400, 200), (200, 400)])
def test_letterboxed_views_have_the_image_s_shape_and_a_border(height, width):
    transform = TrainTransform(size=(64, 48), fit="letterbox", border=(1, 2, 250), ratio=(0.9, 1.1))
    image = horizontal_gradient(height, width)
    for seed in range(20):
        view = transform(image, generator(seed))
        assert view.shape == (3, 64, 48)
        inside = view[2] == 0
        rows, columns = int(inside.any(1).sum()), int(inside.any(0).sum())
        assert inside.sum() == rows * columns
        assert columns / rows == pytest.approx(width / height, rel=0.2)
        assert rows == 64 or columns == 48
    assert torch.equal(view, transform(image, generator(19)))


def test_a_letterbox_changes_nothing_where_shapes_agree():
    image = horizontal_gradient(100, 150)
    plain, boxed = (TrainTransform(size=(20, 30), fit=fit, ratio=(1, 1)) for fit in ("crop", "letterbox"))
    difference = plain(image, generator()).int() - boxed(image, generator()).int()
    assert difference.abs().float().mean() < 4  # the crop's sides are whole pixels: a line may be border
