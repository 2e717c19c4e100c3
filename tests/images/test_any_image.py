"""Whatever holds a picture is the same picture to the transforms."""

import io
import struct
import zlib
from functools import partial

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.errors import BadImageError
from mobileone.images.any_image import as_image
from mobileone.images.decode import EncodedImage, as_stored, read_image
from mobileone.images.orientation import EXIF_ORIENTATION


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
        (np.zeros((3, 4, 6), dtype=np.uint8), r"ndarray of uint8 \(3, 4, 6\)"),
        (np.zeros((0, 4), dtype=np.uint8), r"ndarray of uint8 \(0, 4\)"),
        (np.zeros((4, 4), dtype=np.int64), r"ndarray of int64 \(4, 4\)"),
        (torch.zeros(6, 5, 4, dtype=torch.uint8), r"Tensor of torch.uint8 \(6, 5, 4\)"),
    ],
)
def test_other_things_are_refused_by_kind(wrong, named):
    with pytest.raises(BadImageError, match=f"^image: an image is a path, .* got {named}$"):
        as_image(wrong)


def turned_photo(picture, encode, image_format, orientation):
    exif = PIL.Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return encode(picture(1, 24, 40), image_format, exif=exif)


def palette_with_transparency(picture, encode):
    image = picture(2, 12, 16).quantize(8)
    return encode(image, "PNG", transparency=3)


def deep_colour_with_alpha(picture, encode):
    """A PNG of 16 bits a channel, which Pillow cannot write."""
    rows = np.random.default_rng(0).integers(0, 65536, (3, 5, 4)).astype(">u2")

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 3, 16, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def ramp(dtype, scale):
    return PIL.Image.fromarray((np.arange(12).reshape(3, 4) * scale).astype(dtype))


FILES = {
    "JPEG": lambda picture, encode: encode(picture(0, 30, 41), "JPEG", quality=90),
    "CMYK": lambda picture, encode: encode(picture(0, 16, 16).convert("CMYK"), "JPEG"),
    "16-bit grey": lambda picture, encode: encode(ramp(np.uint16, 5000), "PNG"),
    "32-bit grey": lambda picture, encode: encode(ramp(np.int32, 100_000), "TIFF"),
    "float": lambda picture, encode: encode(ramp(np.float32, 0.05), "TIFF"),
    "1-bit": lambda picture, encode: encode(picture(0, 8, 9).convert("1"), "PNG"),
    "alpha": lambda picture, encode: encode(ramp_with_alpha(), "PNG"),
    "grey with alpha": lambda picture, encode: encode(ramp_with_alpha().convert("LA"), "PNG"),
    "palette with transparency": palette_with_transparency,
    "16-bit colour with alpha": deep_colour_with_alpha,
    **{
        f"{name} held as {turn}": partial(turned_photo, image_format=name, orientation=turn)
        for name in ("JPEG", "PNG", "TIFF", "WEBP")
        for turn in (3, 6, 8)
    },
}


def ramp_with_alpha():
    pixels = np.random.default_rng(3).integers(0, 256, (6, 7, 4), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


@pytest.mark.parametrize("exif", [True, False])
@pytest.mark.parametrize("kind", FILES)
def test_a_picture_is_the_same_through_every_door(kind, exif, picture, encode, tmp_path):
    data = FILES[kind](picture, encode)
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file, PIL.Image.open(path) as opened, PIL.Image.open(path) as loaded:
        loaded.load()
        doors = [path, str(path), data, bytearray(data), io.BytesIO(data), file, opened, loaded]
        images = [as_image(given) if exif else as_stored(as_image(given)) for given in doors]
        views = [image.decode() for image in images]
    assert all((each.height, each.width) == view.shape[:2] for each, view in zip(images, views, strict=True))
    assert all(np.array_equal(view, views[0]) for view in views)
    from_a_file, nameless = {images[i].name for i in (0, 1, 5, 6, 7)}, {images[i].name for i in (2, 3, 4)}
    assert (from_a_file, nameless) == ({str(path)}, {"image"})


@pytest.mark.parametrize(
    "pixels",
    [
        np.random.default_rng(0).integers(0, 256, (5, 6), dtype=np.uint8),
        np.random.default_rng(1).integers(0, 256, (5, 6, 4), dtype=np.uint8),
        np.random.default_rng(2).integers(0, 65536, (5, 6), dtype=np.uint16),
        np.random.default_rng(3).integers(0, 10**6, (5, 6), dtype=np.int32),
        np.random.default_rng(4).random((5, 6)).astype(np.float32),
        np.random.default_rng(5).random((5, 6)) > 0.5,
    ],
    ids=["grey", "alpha", "16 bits", "32 bits", "float", "1 bit"],
)
def test_arrays_are_read_as_files_of_them_are(pixels, encode):
    file = encode(PIL.Image.fromarray(pixels), "TIFF")
    expected = as_image(file).decode()
    given = [pixels, pixels[::-1][::-1]]
    given += [pixels[:, :, None]] if pixels.ndim == 2 else []
    if pixels.dtype != np.uint16:
        tensor = torch.from_numpy(pixels)
        given += [tensor, tensor[None]] if pixels.ndim == 2 else [tensor.permute(2, 0, 1)]
    for each in given:
        assert np.array_equal(as_image(each).decode(), expected)


def test_pixels_that_may_not_be_written_to_are_copied(pixels):
    pixels.flags.writeable = False
    assert as_image(pixels).decode().sum() == pixels.sum()


def test_damaged_content_is_an_image_until_it_is_asked():
    damaged = EncodedImage("damaged.jpg", b"no picture")
    assert as_image(damaged) is damaged
    with pytest.raises(BadImageError, match=r"damaged\.jpg"):
        _ = damaged.height
