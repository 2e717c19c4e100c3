"""Whole images inside frames; what evaluation makes of it is test_eval_transform's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileone.images.letterbox import inside, with_border

SIDE = st.integers(1, 400)


@given(SIDE, SIDE, SIDE, SIDE)
def test_an_image_fills_one_side_of_its_frame_and_keeps_its_shape(height, width, frame_height, frame_width):
    new = inside((height, width), (frame_height, frame_width))
    assert 1 <= new[0] <= frame_height
    assert 1 <= new[1] <= frame_width
    assert new[0] == frame_height or new[1] == frame_width
    scale = min(frame_height / height, frame_width / width)
    for got, side in zip(new, (height, width), strict=True):
        assert got == 1 or abs(got - side * scale) <= 0.5


@pytest.mark.parametrize(("shape", "corner"), [((4, 3), (0, 1)), ((4, 2), (0, 2)), ((1, 6), (1, 0))])
def test_the_border_lies_around_the_image(shape, corner):
    image = np.random.default_rng(0).integers(1, 256, (*shape, 3), dtype=np.uint8)
    framed = with_border(image, (4, 6), (7, 8, 9))
    top, left = corner
    assert (framed[top : top + shape[0], left : left + shape[1]] == image).all()
    framed[top : top + shape[0], left : left + shape[1]] = (7, 8, 9)
    assert (framed == (7, 8, 9)).all()


def test_an_image_that_fills_its_frame_is_itself():
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    assert with_border(image, (4, 6), (0, 0, 0)) is image
