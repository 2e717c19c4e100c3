"""Small image folders made on the spot, and the real photos where they are at hand."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from mobileone.data.folder import ImageFolder, find_images

SHARED = (Path(__file__).parents[2] / "../shared/data").resolve()


def _picture(seed: int, height: int, width: int) -> PIL.Image.Image:
    """Smooth colours with some noise: compresses like a photo, and differs from seed to seed."""
    rng = np.random.default_rng(seed)
    coarse = PIL.Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), PIL.Image.Resampling.BICUBIC)).astype(int)
    noisy = smooth + rng.integers(-12, 13, (height, width, 3))
    return PIL.Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def picture() -> Callable[[int, int, int], PIL.Image.Image]:
    """`picture(seed, height, width)`."""
    return _picture


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """`encode(image, format, **save_options)`: the file's bytes."""

    def to_bytes(image: PIL.Image.Image, image_format: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, image_format, **options)
        return buffer.getvalue()

    return to_bytes


@pytest.fixture
def flat_folder(tmp_path: Path) -> Path:
    """Three classes with 5, 4 and 4 JPEGs of 40 × 52 pixels."""
    for number in range(13):
        folder = tmp_path / "flat" / f"class{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        _picture(number, 40, 52).save(folder / f"{number:02}.jpg", quality=90)
    return tmp_path / "flat"


@pytest.fixture(scope="session")
def photos() -> ImageFolder:
    """300 real ImageNet photos."""
    folder = SHARED / "imagenet_val_300"
    if not folder.is_dir():
        pytest.skip(f"the ImageNet photos are not at hand: {folder}")
    return find_images(folder, split="val")


@pytest.fixture(scope="session")
def imagenette_zip() -> Path:
    """Imagenette, 128 px, zipped."""
    path = SHARED / "imagenette_128_q70.zip"
    if not path.is_file():
        pytest.skip(f"Imagenette is not at hand: {path}")
    return path


@pytest.fixture(scope="session")
def synset_words() -> dict[str, str]:
    """wnid → names, as published for Caffe."""
    path = SHARED / "imagenet_synset_words.txt"
    if not path.is_file():
        pytest.skip(f"the list of synset words is not at hand: {path}")
    return dict(line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines())
