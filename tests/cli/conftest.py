"""What the tests of several commands need."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
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


@pytest.fixture
def two_weights(tiny, tmp_path):
    """A checkpoint with raw weights, which always say dog, and averaged ones, which always say cat."""
    model = create_model(
        tiny, num_classes=2, input_spec=InputSpec(size=32), class_names=("cat", "dog"), form="inference"
    ).eval()
    states = []
    for bias in ((0.0, 50.0), (50.0, 0.0)):
        state = {name: value.clone() for name, value in model.state_dict().items()}
        state["head.fc.bias"] = torch.tensor(bias)
        states.append(state)
    path = tmp_path / "two.pt"
    torch.save({"state_dict": states[0], "ema_state_dict": states[1]}, path)
    return path
