"""A network small enough to train inside a test, and a run of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileone.input_spec import InputSpec
from mobileone.training.config.augmentation import Augment
from mobileone.training.config.optimization import Optim
from mobileone.training.config.resources import Compute, Loading
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.step import TrainStep
from mobileone.variants import Variant

AtStep = Callable[[int, Callable[[], None]], None]


@pytest.fixture
def tiny() -> Variant:
    return Variant("tiny", (8, 8, 16, 16), num_conv_branches=2, depths=(1, 1, 1, 1))


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Two classes, dark and light: 24 training and 8 validation images of 40 × 36 px."""
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for name, low in (("dark", 0), ("light", 155)):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(low, low + 100, (36, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index:02}.jpg")
    return tmp_path / "images"


@pytest.fixture
def config(tiny: Variant, image_folder: Path) -> TrainConfig:
    return TrainConfig(
        model=tiny,
        data=str(image_folder),
        epochs=2,
        batch_size=8,
        input_spec=InputSpec(size=32),
        augment=Augment(crop_scale=(0.5, 1.0)),
        optim=Optim(base_lr=0.4),
        compute=Compute(device="cpu"),
        loading=Loading(num_workers=0),
    )


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> AtStep:
    """Does something after the n-th step from now on, 1 for the first; may be asked several times."""

    def arrange(number: int, work: Callable[[], None]) -> None:
        real, calls = TrainStep.__call__, iter(range(1, 1_000_000))

        def step(self: TrainStep, *args: object, **options: float) -> object:
            result = real(self, *args, **options)  # type: ignore[arg-type]
            if next(calls) == number:
                work()
            return result

        monkeypatch.setattr(TrainStep, "__call__", step)

    return arrange
