"""Of data that a run divided only the images that it held out are taken."""

import json

import numpy as np
import pytest
from PIL import Image

from mobileone.cli.held_out import held_out
from mobileone.input_spec import InputSpec
from mobileone.training.config.hold_out import HoldOut
from mobileone.training.config.resources import Compute, Loading
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit

pytest.importorskip("sklearn", reason="needs scikit-learn")


@pytest.fixture
def divided(tiny, tmp_path):
    """A run that held out 52 of 104 pictures, and their folder."""
    random = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 155)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(52):
            pixels = random.integers(low, low + 100, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{index:02}.png")
    config = TrainConfig(
        model=tiny,
        data=str(tmp_path / "data"),
        epochs=1,
        batch_size=26,
        hold_out=HoldOut(share=0.5),
        input_spec=InputSpec(size=32),
        compute=Compute(device="cpu"),
        loading=Loading(num_workers=0),
    )
    fit(config, run_dir=tmp_path / "run", progress=False)
    return tmp_path / "run", config.data


def test_a_decision_is_fitted_on_what_the_run_held_out(run, divided, tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    folder, data = divided
    for model in (folder, folder / "best.safetensors"):
        command = ("calibrate", model, "--data", data, "--workers", 0, "--html", tmp_path / "page.html")
        code, out, err = run(*command, "--json")
        assert (code, json.loads(out)["num_images"]) == (0, 52), err
        assert f"{folder} trained on a part of {data}: divided as {folder}" in err
    code, out, err = run(*command, "--json", "--split", "train")
    assert (code, json.loads(out)["num_images"]) == (0, 52), err
    assert "these are images that the network was trained on" in err


def test_other_data_and_other_models_are_as_they_are(divided, tmp_path):
    folder, data = divided
    record = str(folder / "split.jsonl")
    assert held_out(folder, f"{data}/../data") == record == held_out(folder, record)
    assert held_out(folder, str(tmp_path)) == str(tmp_path)
    for other in (tmp_path, tmp_path / "nothing", folder / "best.safetensors", None):
        assert held_out(other, data) == data
