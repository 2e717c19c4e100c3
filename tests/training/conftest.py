"""A network small enough to train inside a test, and a run of it."""

import dataclasses
import json
import os
import subprocess
import sys
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
FitOnTwoRanks = Callable[[TrainConfig], Path]

A_RANK = """
import glob, json, sys, torch, warnings
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit

warnings.simplefilter("error")
torch.set_num_threads(1)
fit(TrainConfig.from_dict(json.loads(sys.argv[1])), run_dir=sys.argv[2], progress=False)
# A group that outlives fit may abort the interpreter on its way out.
threads = [open(path).read().strip() for path in glob.glob("/proc/self/task/*/comm")]
assert not any("gloo" in name for name in threads), threads
"""


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


@pytest.fixture
def fit_on_two_ranks(tmp_path: Path) -> FitOnTwoRanks:
    """Runs a configuration under torchrun, half of the batch on each rank; gives the run's folder."""

    def run(config: TrainConfig) -> Path:
        script, run_dir = tmp_path / "rank.py", tmp_path / "two"
        script.write_text(A_RANK)
        halved = json.dumps(dataclasses.replace(config, batch_size=config.batch_size // 2).to_dict())
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        done = subprocess.run(
            [*torchrun, str(script), halved, str(run_dir)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return run_dir

    return run
