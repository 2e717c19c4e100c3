"""Any mode of Pillow's is RGB; that it is the same in files, arrays and images is test_any_image's."""

import numpy as np
import PIL.Image
import pytest

from mobileone.images.rgb_pixels import rgb_pixels


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_every_mode_of_eight_bits_is_rgb(mode):
    pixels = rgb_pixels(PIL.Image.new(mode, (3, 2)))
    assert (pixels.dtype, pixels.shape) == (np.uint8, (2, 3, 3))


def test_transparent_is_white_and_opaque_is_itself():
    image = PIL.Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    image.putpixel((1, 0), (10, 20, 30, 255))
    assert rgb_pixels(image).tolist() == [[[255, 255, 255], [10, 20, 30]]]


def test_grey_of_many_bits_is_scaled():
    deep = PIL.Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16))
    assert rgb_pixels(deep)[0, :, 0].tolist() == [0, 128, 255]


def test_no_pixels_are_an_error():
    with pytest.raises(ValueError, match="without pixels"):
        rgb_pixels(PIL.Image.new("L", (0, 5)))
