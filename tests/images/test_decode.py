"""Every kind of image file, good and bad."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.PngImagePlugin
import pytest

from mobileone.errors import BadImageError
from mobileone.images.decode import DecodedImage, EncodedImage, read_image
from mobileone.limits import IMAGE_PIXELS


def decode(data: bytes) -> np.ndarray:
    image = EncodedImage("some/path", data)
    pixels = image.decode()
    assert pixels.dtype == np.uint8
    assert pixels.shape == (image.height, image.width, 3)
    return pixels.astype(int)  # signed, for differences


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 2}])
def test_jpeg_is_what_pillow_decodes(picture, encode, options):
    data = encode(picture(0, 61, 83), "JPEG", quality=85, **options)
    assert np.abs(decode(data) - np.asarray(PIL.Image.open(io.BytesIO(data))).astype(int)).max() <= 1


def test_real_photos_are_what_pillow_decodes(photos):
    for index in range(0, len(photos), 10):
        image = photos.read(index)
        expected = np.asarray(PIL.Image.open(io.BytesIO(image.data)).convert("RGB")).astype(int)
        assert np.abs(image.decode() - expected).max() <= 1


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_give_the_pixels_back(picture, encode, image_format, options):
    image = picture(1, 33, 47)
    assert (decode(encode(image, image_format, **options)) == np.asarray(image)).all()


def test_grey_and_1_bit_become_three_equal_channels(picture, encode):
    grey = picture(2, 20, 30).convert("L")
    for image, image_format in ((grey, "PNG"), (grey.convert("1"), "PNG"), (grey, "JPEG"), (grey, "PPM")):
        pixels = decode(encode(image, image_format))
        assert (pixels[..., 0] == pixels[..., 1]).all()
        assert (pixels[..., 0] == pixels[..., 2]).all()
        assert np.abs(pixels[..., 0] - np.asarray(image.convert("L")).astype(int)).max() <= 12
    assert set(np.unique(decode(encode(grey.convert("1"), "PNG")))) == {0, 255}


def test_the_content_says_the_format(picture, encode):
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        assert EncodedImage("a.tiff", encode(picture(2, 20, 30), kind)).format == kind
    assert EncodedImage("a", encode(picture(2, 20, 30), "MPO")).format == "JPEG"
    with pytest.raises(BadImageError, match=r"^a: damaged, or not an image"):
        _ = EncodedImage("a", b"none").format


def test_cmyk_jpeg_keeps_its_colours(encode):
    """libjpeg alone would hand back raw, often inverted, ink values."""
    red = PIL.Image.new("RGB", (16, 16), (220, 30, 40)).convert("CMYK")
    for data in (encode(red, "JPEG", quality=95), encode(red, "TIFF")):
        assert np.abs(decode(data).mean(axis=(0, 1)) - [220, 30, 40]).max() < 6


def test_16_bit_grey_is_scaled_not_clipped(encode):
    ramp = np.linspace(0, 65535, 256 * 4).astype(np.uint16).reshape(4, 256)
    for image_format in ("PNG", "TIFF"):
        pixels = decode(encode(PIL.Image.fromarray(ramp), image_format))
        assert (pixels[..., 0] == np.rint(ramp / 257).astype(int)).all()
    dark = np.full((4, 4), 300, dtype=np.uint16)
    assert (decode(encode(PIL.Image.fromarray(dark), "PNG")) == 1).all()


def test_16_bit_rgb_png_is_scaled():
    """Pillow cannot write one, so the file is put together here."""
    rows = np.array([[[0, 32768, 65535], [65535, 0, 257]]], dtype=">u2")

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    data += chunk(b"IDAT", zlib.compress(b"\0" + rows.tobytes())) + chunk(b"IEND", b"")
    assert np.abs(decode(data) - [[[0, 128, 255], [255, 0, 1]]]).max() <= 1


def test_32_bit_images_use_their_own_range(encode):
    unit = np.array([[0.0, 0.5], [0.25, 1.0]], dtype=np.float32)
    assert decode(encode(PIL.Image.fromarray(unit), "TIFF"))[..., 0].tolist() == [[0, 128], [64, 255]]
    wide = np.array([[-1000.0, 0.0], [0.0, 1000.0]], dtype=np.float32)
    assert decode(encode(PIL.Image.fromarray(wide), "TIFF"))[..., 0].tolist() == [[0, 128], [128, 255]]
    integers = np.array([[0, 1_000_000], [500_000, 250_000]], dtype=np.int32)
    assert decode(encode(PIL.Image.fromarray(integers), "TIFF"))[..., 0].tolist() == [[0, 255], [128, 64]]
    constant = np.full((2, 2), -7.0, dtype=np.float32)
    assert (decode(encode(PIL.Image.fromarray(constant), "TIFF")) == 0).all()
    with pytest.raises(BadImageError, match="not finite"):
        decode(encode(PIL.Image.fromarray(np.array([[np.nan, 1.0]], dtype=np.float32)), "TIFF"))


def test_palette(picture, encode):
    image = picture(3, 24, 24).quantize(32)
    assert (decode(encode(image, "PNG")) == np.asarray(image.convert("RGB"))).all()


def test_transparency_is_laid_on_white(encode):
    colours = np.zeros((2, 3, 4), dtype=np.uint8)
    colours[:, 0] = (10, 20, 30, 255)
    colours[:, 1] = (10, 20, 30, 0)
    colours[:, 2] = (0, 0, 0, 128)
    row = decode(encode(PIL.Image.fromarray(colours), "PNG"))[0]
    assert row[0].tolist() == [10, 20, 30]
    assert row[1].tolist() == [255, 255, 255]
    assert np.abs(row[2] - 127).max() <= 1

    palette = PIL.Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 0, 200, 0])
    palette.putdata([0, 1])
    for image_format, transparency in (("PNG", 1), ("GIF", 1), ("PNG", b"\xff\x00")):
        row = decode(encode(palette, image_format, transparency=transparency))[0]
        assert row.tolist() == [[200, 0, 0], [255, 255, 255]]

    keyed = PIL.Image.new("RGB", (1, 1), (1, 2, 3))
    assert decode(encode(keyed, "PNG", transparency=(1, 2, 3))).tolist() == [[[255, 255, 255]]]
    grey_alpha = PIL.Image.new("LA", (1, 1), (40, 0))
    assert (decode(encode(grey_alpha, "PNG")) == 255).all()


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(encode, image_format):
    red, blue = (PIL.Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 0, 250)))
    pixels = decode(encode(red, image_format, save_all=True, append_images=[blue]))
    assert np.abs(pixels - [250, 0, 0]).max() <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_exif_orientation_is_followed_as_pillow_follows_it(picture, encode, orientation, image_format):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    data = encode(picture(4, 10, 20), image_format, exif=exif)
    stored = PIL.Image.open(io.BytesIO(data))
    assert (decode(data) == np.asarray(PIL.ImageOps.exif_transpose(stored))).all()
    as_it_is = EncodedImage("stored", data, exif=False)
    assert (as_it_is.height, as_it_is.width, as_it_is.orientation) == (10, 20, 1)
    assert (as_it_is.decode() == np.asarray(stored)).all()


def test_a_minimum_is_one_of_the_picture_as_it_is_looked_at(picture, encode):
    exif = PIL.Image.Exif()
    exif[0x0112] = 8
    image = EncodedImage("held upright", encode(picture(10, 200, 300), "JPEG", exif=exif))
    assert (image.height, image.width) == (300, 200)
    assert image.decode(min_height=150, min_width=90).shape == (150, 100, 3)
    assert image.decode(min_height=90, min_width=150).shape == (300, 200, 3)


def test_content_decides_not_the_extension(picture, encode, tmp_path):
    path = tmp_path / "really_a_png.JPEG"
    path.write_bytes(encode(picture(5, 8, 9), "PNG"))
    assert (read_image(path).decode() == np.asarray(picture(5, 8, 9))).all()


BAD_MAKERS = {
    "zero bytes": lambda image, encode: b"",
    "text": lambda image, encode: b"this is not an image at all\n" * 20,
    "jpeg header only": lambda image, encode: encode(image, "JPEG")[:3],
    "truncated jpeg": lambda image, encode: encode(image, "JPEG")[:-400],
    "jpeg without its end marker": lambda image, encode: encode(image, "JPEG")[:-2],
    "truncated progressive jpeg": lambda image, encode: encode(image, "JPEG", progressive=True)[:-300],
    "truncated cmyk jpeg": lambda image, encode: encode(image.convert("CMYK"), "JPEG")[:-400],
    "truncated png": lambda image, encode: encode(image, "PNG")[:-2000],
    "truncated gif": lambda image, encode: encode(image.quantize(64), "GIF")[:-500],
    "truncated webp": lambda image, encode: encode(image, "WEBP")[:-200],
    "truncated bmp": lambda image, encode: encode(image, "BMP")[:-100],
    "truncated tiff": lambda image, encode: encode(image, "TIFF")[:-4000],
    "truncated ppm": lambda image, encode: encode(image, "PPM")[:-10],
    "eps, which Pillow would run a program for": lambda image, encode: encode(image, "EPS"),
}


@pytest.mark.parametrize("kind", BAD_MAKERS)
def test_bad_files_are_one_line_with_the_path(picture, encode, kind):
    data = BAD_MAKERS[kind](picture(6, 64, 80), encode)
    with pytest.raises(BadImageError) as caught:
        EncodedImage("folder/bad file.jpg", data).decode()
    message = str(caught.value)
    assert message.startswith("folder/bad file.jpg: ")
    assert len(message) > len("folder/bad file.jpg: ") + 5
    assert "\n" not in message
    assert caught.value.__cause__ is None
    assert str(pickle.loads(pickle.dumps(caught.value))) == message


def test_every_truncation_of_a_jpeg_is_an_error(picture, encode):
    data = encode(picture(7, 48, 48), "JPEG", quality=80)
    assert EncodedImage("whole", data).decode().shape == (48, 48, 3)
    for length in [*range(0, len(data), 23), len(data) - 1]:
        with pytest.raises(BadImageError):
            EncodedImage("cut", data[:length]).decode()


def test_overwritten_jpeg_data_is_an_error(picture, encode):
    data = bytearray(encode(picture(8, 64, 64), "JPEG", quality=80))
    middle = len(data) * 2 // 3
    data[middle : middle + 200] = b"\xff" * 200
    with pytest.raises(BadImageError, match=r"Corrupt|broken"):
        EncodedImage("scratched", bytes(data)).decode()


def test_noise_in_any_format_is_an_image_or_a_bad_image(picture, encode):
    image = picture(9, 24, 32)
    files = [encode(image, name) for name in ("JPEG", "PNG", "BMP", "WEBP", "PPM")]
    files.append(encode(image.quantize(16), "GIF"))
    outcomes = {"decoded": 0, "bad": 0}
    for number in range(300):
        rng = np.random.default_rng(number)
        data = bytearray(files[number % len(files)])
        for place in rng.integers(0, len(data) if number % 2 else 60, 6):
            data[place] = rng.integers(0, 256)
        try:
            assert EncodedImage("noisy", bytes(data)).decode().dtype == np.uint8
            outcomes["decoded"] += 1
        except BadImageError:
            outcomes["bad"] += 1
    assert min(outcomes.values()) > 10


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


XMP = b'<x xmlns:tiff="t" tiff:Orientation="6"/>'
EXIF = PIL.Image.Exif()
EXIF[0x0112] = 6
PROFILE = b"\nexif\n%8d\n" % len(EXIF.tobytes()) + EXIF.tobytes().hex().encode()
METADATA = {
    "none": b"",
    "eXIf": chunk(b"eXIf", EXIF.tobytes().removeprefix(b"Exif\0\0")),
    "xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    "packed xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
    "raw profile": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(PROFILE)),
    "text": chunk(b"tEXt", b"Comment\0exif"),
}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", METADATA)
def test_a_png_is_turned_by_what_stands_before_and_after_its_pixels(picture, encode, kind, place):
    data = encode(picture(5, 10, 20), "PNG")
    at = data.index(b"IDAT" if place == "before" else b"IEND") - 4
    data = data[:at] + METADATA[kind] + data[at:]
    with PIL.Image.open(io.BytesIO(data)) as opened:
        wanted = opened.getexif().get(0x0112, 1)
    assert EncodedImage("png", data).orientation == wanted == (1 if kind in ("none", "text") else 6)


def test_the_header_of_a_png_is_read_without_its_pixels(picture, encode, monkeypatch):
    """Pillow decodes all of them to look for metadata behind; a bomb's too, before the limit was asked."""
    data = encode(picture(5, 10, 20), "PNG")
    at = data.index(b"IEND") - 4
    bomb = data[:at] + METADATA["eXIf"] + data[at:]
    monkeypatch.setattr(PIL.PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("decoded"))
    image = EncodedImage("png", data)
    assert (image.height, image.width) == (10, 20)
    monkeypatch.setenv("MOBILEONE_MAX_IMAGE_PIXELS", "199")
    with pytest.raises(BadImageError, match=r"^bomb: 20×10 pixels, over the limit of 199"):
        _ = EncodedImage("bomb", bomb).height


def test_decompression_bombs_are_refused_by_their_header(encode):
    side = 14_000
    assert side * side > IMAGE_PIXELS.value
    bomb = encode(PIL.Image.new("1", (side, side)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(BadImageError, match=r"^bomb: .*limit of \d+"):
        EncodedImage("bomb", bomb).decode()

    jpeg = bytearray(encode(PIL.Image.new("RGB", (16, 16)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(BadImageError, match="60000×60000"):
        _ = EncodedImage("bomb", bytes(jpeg)).height


def test_an_unreadable_path_is_a_bad_image(tmp_path):
    with pytest.raises(BadImageError, match=r"missing\.jpg: cannot be read \(No such file"):
        read_image(tmp_path / "missing.jpg")
    with pytest.raises(BadImageError, match="cannot be read"):
        read_image(tmp_path)


def test_a_path_that_is_not_utf8_can_be_printed():
    image = read_image_name(Path("caf\udce9.jpg"))
    assert image.encode("utf-8") == b"caf\\xe9.jpg"


def read_image_name(path: Path) -> str:
    with pytest.raises(BadImageError) as caught:
        read_image(path)
    return str(caught.value).split(":")[0]


@pytest.mark.parametrize(
    ("minimum", "expected"),
    [
        ((102, 151), (201, 301)),
        ((101, 152), (201, 301)),
        ((101, 151), (101, 151)),
        ((52, 10), (101, 151)),
        ((51, 76), (51, 76)),
        ((26, 38), (26, 38)),
        ((1, 1), (26, 38)),
        ((500, 10), (201, 301)),
    ],
)
def test_dct_scaling_never_goes_below_the_minimum(picture, encode, minimum, expected):
    """201 × 301 at 1/2, 1/4 and 1/8 is 101 × 151, 51 × 76 and 26 × 38: sizes round up."""
    image = EncodedImage("jpeg", encode(picture(10, 201, 301), "JPEG"))
    assert image.decode(min_height=minimum[0], min_width=minimum[1]).shape[:2] == expected
    assert (image.height, image.width) == (201, 301)
    assert image.decode().shape[:2] == (201, 301)


def test_dct_scaling_looks_like_averaging(picture, encode):
    data = encode(picture(11, 200, 304), "JPEG", quality=95)
    half = EncodedImage("jpeg", data).decode(min_height=100)
    boxes = np.asarray(PIL.Image.open(io.BytesIO(data)).reduce(2)).astype(int)
    assert np.abs(half - boxes).mean() < 2


def test_a_minimum_buys_speed_with_colour_that_is_not_interpolated(picture, encode):
    image = EncodedImage("jpeg", encode(picture(11, 200, 304), "JPEG", quality=90))
    off = np.abs(image.decode(min_height=200).astype(int) - image.decode())
    assert 0 < off.mean() < 2


def test_only_jpeg_is_scaled(picture, encode):
    image = EncodedImage("png", encode(picture(12, 40, 40), "PNG"))
    assert image.decode(min_height=5, min_width=5).shape == (40, 40, 3)


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_fifo_and_device_are_bad_images_at_once(kind, tmp_path, no_hang):
    path = tmp_path / "x.jpg"
    os.mkfifo(path) if kind == "fifo" else path.symlink_to("/dev/zero")
    with pytest.raises(BadImageError, match=r"cannot be read \(no regular file but a (pipe|device)\)"):
        read_image(path)


def test_image_files_larger_than_the_limits_are_not_read(tmp_path, monkeypatch, encode, picture):
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(2**35)
    with pytest.raises(BadImageError, match=r"larger than .*MOBILEONE_MAX_IMAGE_BYTES"):
        read_image(tmp_path / "sparse.jpg")
    monkeypatch.setenv(IMAGE_PIXELS.variable, "100")
    with pytest.raises(BadImageError, match=r"11×10 pixels, over the limit of 100 \(.*MAX_IMAGE_PIXELS sets"):
        EncodedImage("small", encode(picture(0, 10, 11), "PNG")).decode()


def test_decoded_image_has_the_same_interface():
    pixels = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(4, 5, 3)
    image = DecodedImage("here", pixels)
    assert (image.name, image.height, image.width) == ("here", 4, 5)
    assert image.decode(min_height=1, min_width=1) is pixels


def test_without_simplejpeg_pillow_gives_the_same_pixels(picture, encode, monkeypatch):
    files = [
        encode(picture(13, 61, 83), "JPEG", **options)
        for options in ({}, {"subsampling": 0}, {"subsampling": 2, "quality": 60}, {"progressive": True})
    ]
    files.append(encode(picture(13, 61, 83).convert("L"), "JPEG"))
    expected = [EncodedImage("photo", data).decode() for data in files]
    monkeypatch.setattr("mobileone.images.decode.simplejpeg", None)
    for data, pixels in zip(files, expected, strict=True):
        image = EncodedImage("photo", data)
        assert np.array_equal(image.decode(), pixels)
        assert np.array_equal(image.decode(min_height=10), pixels)  # whole: at least as large as asked for
        with pytest.raises(BadImageError):
            EncodedImage("cut", data[:-40]).decode()
