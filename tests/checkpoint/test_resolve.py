"""What MODEL may be, and which wins."""

import json
from pathlib import Path

import pytest
import torch

from mobileone.checkpoint import resolve as resolve_module
from mobileone.checkpoint.config import ModelConfig
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.resolve import resolve
from mobileone.checkpoint.store import save_model
from mobileone.errors import CheckpointError
from mobileone.variants import VARIANTS


def test_a_folder_without_weights(tmp_path, refused):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert "no model in folder" in refused(folder)
    assert isinstance(folder, Path)


def test_what_may_not_be_looked_at(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match=r"cannot read a{300}: File name too long"):
        resolve("a" * 300)

    def refused(path):  # as root, who runs tests too, may look everywhere
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refused)
    with pytest.raises(CheckpointError, match=r"cannot read .*model\.pt: Permission denied"):
        resolve(tmp_path / "model.pt")


def test_a_run_folder_gives_its_best_weights(tmp_path, model, fused, same_state):
    save_model(fused, tmp_path / "last.safetensors", extra={"epoch": 9})
    (tmp_path / "config.json").write_text("{}")  # the run's, not a model's
    assert describe(tmp_path).metadata == {"epoch": 9}
    save_model(model, tmp_path / "best.safetensors")
    same_state(load_model(tmp_path), model)


def test_a_folder_of_timm_with_config_json(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    config = {
        "architecture": "mobileone_s0",
        "label_names": list("vwxyz"),
        "pretrained_cfg": {"input_size": [3, 256, 256], "crop_pct": 0.9, "interpolation": "bicubic"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load_model(tmp_path)
    assert loaded.class_names == tuple("vwxyz")
    assert (loaded.input_spec.size, loaded.input_spec.crop) == (256, 0.9)
    assert loaded.input_spec.interpolation == "bicubic"
    # Hints of another program that do not fit the weights are dropped, not obeyed.
    (tmp_path / "config.json").write_text(json.dumps(config | {"label_names": ["one"]}))
    assert load_model(tmp_path).class_names is None
    (tmp_path / "config.json").write_text('{"architecture": "resnet50"}')
    with pytest.raises(CheckpointError, match="describes 'resnet50'"):
        load_model(tmp_path)


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(
        CheckpointError, match=r"no model mobileone_s0.apple_in1: .* did you mean mobileone_s0.apple"
    ):
        load_model("mobileone_s0.apple_in1")
    with pytest.raises(CheckpointError, match=r"no model nowhere/x\.pt"):
        describe("nowhere/x.pt")


def test_a_name_wins_over_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mobileone_s0").write_bytes(b"mine")
    assert resolve("mobileone_s0").variant is VARIANTS["mobileone_s0"]
    assert resolve("mobileone_s0").path is None
    found = resolve("./mobileone_s0")
    assert (found.variant, found.path, found.source) == (None, Path("mobileone_s0"), "./mobileone_s0")


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["best.safetensors", "last.safetensors", "model.safetensors"], "best.safetensors"),
        (["last.safetensors", "model.safetensors"], "last.safetensors"),
        (["best.pt", "last.pt"], "best.pt"),
        (["last.pt"], "last.pt"),
        (["pytorch_model.bin", "model.safetensors"], "model.safetensors"),
        (["pytorch_model.bin"], "pytorch_model.bin"),
    ],
)
def test_which_file_of_a_folder(tmp_path, names, wanted):
    for name in names:
        (tmp_path / name).touch()
    assert resolve(tmp_path).path == tmp_path / wanted


def test_a_revision_of_the_hub_is_passed_on(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        resolve_module, "hub_files", lambda *wanted: asked.append(wanted) or (tmp_path / "w", None)
    )
    assert resolve("hf-hub:owner/name@v1").path == tmp_path / "w"
    assert resolve("hf-hub:owner/name").config == ModelConfig()
    assert asked == [("owner/name", "v1"), ("owner/name", None)]
