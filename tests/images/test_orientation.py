"""Which way up: the eight turns, and what is no orientation."""

import io

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from mobileone.images.orientation import (
    EXIF_ORIENTATION,
    UPRIGHT,
    jpeg_orientation,
    orientation_of,
    swaps_sides,
    turned,
    with_orientation,
)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_as_pillow_turns_them(picture, encode, orientation):
    image = picture(0, 6, 9)
    exif = PIL.Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    opened = PIL.Image.open(io.BytesIO(encode(image, "PNG", exif=exif)))
    result = turned(np.asarray(image), orientation)
    assert (result == np.asarray(PIL.ImageOps.exif_transpose(opened))).all()
    assert result.flags.c_contiguous
    assert swaps_sides(orientation) == (result.shape[:2] == (9, 6))
    assert orientation_of(opened) == orientation


def test_the_tag_is_written_and_read(picture, encode):
    plain = encode(picture(1, 8, 8), "JPEG")
    assert with_orientation(plain, UPRIGHT) is plain
    for orientation in range(2, 9):
        assert jpeg_orientation(with_orientation(plain, orientation)) == orientation


@pytest.mark.parametrize("value", [0, 9, 4242])
def test_an_orientation_that_does_not_exist_is_upright(picture, encode, value):
    exif = PIL.Image.Exif()
    exif[EXIF_ORIENTATION] = value
    assert jpeg_orientation(encode(picture(2, 8, 8), "JPEG", exif=exif)) == UPRIGHT


def test_metadata_that_is_damaged_damages_no_picture(picture, encode):
    data = with_orientation(encode(picture(3, 8, 8), "JPEG"), 6)
    for length in range(len(data)):
        assert jpeg_orientation(data[:length]) in (UPRIGHT, 6)
    for place in range(4, 40):
        jpeg_orientation(data[:place] + b"\xff\xff\xff" + data[place + 3 :])


def test_metadata_behind_other_segments_is_found(picture, encode):
    data = with_orientation(encode(picture(4, 8, 8), "JPEG"), 3)
    comment = b"\xff\xfe" + (1002).to_bytes(2, "big") + b"x" * 1000
    assert jpeg_orientation(data[:2] + comment + b"\xff" + data[2:]) == 3


def test_none_of_the_photos_of_imagenet_has_an_orientation(photos):
    """So following it moves no accuracy that is measured on them."""
    assert {jpeg_orientation(photos.read(index).data) for index in range(len(photos))} == {UPRIGHT}
