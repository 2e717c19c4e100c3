"""Shards without indexes, a folder of photos, and a predictor."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileone.inference.predictor import Predictor
from mobileone.model.create import create_model

PER_SHARD = 3


def jpeg(number: int) -> bytes:
    """A picture of noise, another for every number."""
    content = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "JPEG")
    return content.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def make_shards(tmp_path) -> Callable[[int], list[str]]:
    """Writes so many shards of three images, and gives their paths."""

    def make(number: int) -> list[str]:
        return [
            str(
                write_tar(
                    tmp_path / "shards" / f"{shard:03d}.tar",
                    {f"{shard}-{i}.jpg": jpeg(shard * PER_SHARD + i) for i in range(PER_SHARD)},
                )
            )
            for shard in range(number)
        ]

    return make


@pytest.fixture
def photos(tmp_path) -> Path:
    """val/ with two classes: four cats, three dogs."""
    for name, number in (("cat", 4), ("dog", 3)):
        folder = tmp_path / "photos" / "val" / name
        folder.mkdir(parents=True)
        for index in range(number):
            (folder / f"{index}.jpg").write_bytes(jpeg(100 * number + index))
    return tmp_path / "photos"


@pytest.fixture
def predictor(tiny) -> Predictor:
    """Of a small network of cats and dogs."""
    model = create_model(tiny, num_classes=2, form="inference", class_names=("cat", "dog")).eval()
    model.set_input_size(32)
    return Predictor(model)


@pytest.fixture
def other_predictor(tiny, predictor) -> Predictor:
    """Of another network of the same classes."""
    model = create_model(tiny, num_classes=2, form="inference", class_names=("cat", "dog")).eval()
    model.set_input_size(32)
    return Predictor(model)
