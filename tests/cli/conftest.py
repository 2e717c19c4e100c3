"""What the tests of several commands need."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from mobileone.checkpoint.store import save_model
from mobileone.cli.main import main
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model


@pytest.fixture
def run(capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs one command line: exit code, stdout and stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def photos(tmp_path):
    """train/ and val/ with two classes of noise."""
    generator = np.random.default_rng(0)
    for split, number in (("train", 8), ("val", 3)):
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for index in range(number):
                pixels = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.jpg")
    return tmp_path / "photos"


@pytest.fixture
def model_file(tiny, tmp_path):
    """A small classifier of cats and dogs in train form, with fresh weights."""
    model = create_model(
        tiny, num_classes=2, input_spec=InputSpec(size=32), class_names=("cat", "dog")
    ).eval()
    return save_model(model, tmp_path / "tiny.safetensors")
