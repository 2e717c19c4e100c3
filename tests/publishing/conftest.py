"""A run, an export and Apple's weights, as those who push have them."""

import json
from pathlib import Path

import pytest
import torch

from mobileone.checkpoint.published import ORIGIN_KEY
from mobileone.checkpoint.store import save_model
from mobileone.data.fingerprint import Fingerprint
from mobileone.decision import Decision
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.model.network import MobileOne
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.run_dir import RunDir


@pytest.fixture
def classifier(tiny) -> MobileOne:
    """In train form, calibrated, with weights that depend on the picture."""
    model = create_model(
        tiny, num_classes=2, input_spec=InputSpec(size=32), class_names=("c|at", "dog")
    ).eval()
    with torch.no_grad():
        model.get_classifier().weight.normal_()
    model.decision = Decision(temperatures=(1.5,), thresholds=(0.7,), evidence={"ece_after": 0.012})
    return model


@pytest.fixture
def run_dir(classifier, tmp_path) -> Path:
    """The folder of a run, as training leaves it."""
    files = RunDir(tmp_path / "runs" / "pets")
    files.path.mkdir(parents=True)
    config = TrainConfig(
        model=classifier.variant, data=str(tmp_path / "private-folder" / "pets"), epochs=3, batch_size=8
    )
    files.claim(config, world_size=2)
    counts = Fingerprint({"c|at": 40, "dog": 50}, {"c|at": "a" * 16, "dog": "b" * 16})
    files.note_images({"training": counts, "validation": counts})
    figures = {"acc1": 91.25, "acc5": 100.0, "macro_f1": 90.5, "balanced_acc": 91.0}
    extra = {"epoch": 2, **figures, "num_images": 90, "precision": "float32"}
    save_model(classifier, files.weights("best"), extra=extra)
    return files.path


@pytest.fixture
def begun_with_apple(run_dir) -> Path:
    """The same run, begun with Apple's weights."""
    content = json.loads((run_dir / "config.json").read_text())
    content["config"]["init"] = "mobileone_s0.apple_in1k"
    (run_dir / "config.json").write_text(json.dumps(content))
    return run_dir


@pytest.fixture
def converted(classifier, tmp_path) -> Path:
    """A file that was converted from Apple's weights."""
    return save_model(
        classifier, tmp_path / "converted.safetensors", extra={ORIGIN_KEY: "mobileone_s0.apple"}
    )
