import json

import pytest
import torch

from mobileone.checkpoint import resolve as source_module
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.published import PUBLISHED
from mobileone.checkpoint.store import save_model
from mobileone.errors import CheckpointError, ConfigError
from mobileone.model.features import FeatureExtractor


def test_a_variant_gives_fresh_weights():
    model = load_model("mobileone_s1", num_classes=10, in_chans=1, form="inference")
    assert (model.form, model.num_classes, model.in_chans, model.training) == ("inference", 10, 1, False)


def test_fusing_and_expanding_on_the_way_in(tmp_path, model):
    path = save_model(model, tmp_path / "m.safetensors")
    x = torch.randn(2, 3, 64, 64)
    fused = load_model(path, form="inference")
    assert fused.form == "inference"
    torch.testing.assert_close(fused(x), model(x), rtol=1e-4, atol=1e-4)
    again = load_model(save_model(fused, tmp_path / "f.safetensors"), form="train")
    assert again.form == "train"
    assert again.variant.num_conv_branches == 2
    torch.testing.assert_close(again(x), model(x), rtol=1e-4, atol=1e-4)


def test_another_number_of_classes_gives_a_fresh_head(tmp_path, model):
    path = save_model(model, tmp_path / "m.pt")
    loaded = load_model(path, num_classes=7)
    assert loaded.head.fc.weight.shape == (7, 32)
    assert loaded.class_names is None
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded.forward_features(x), model.forward_features(x))
    assert load_model(path, num_classes=5).class_names == model.class_names
    assert load_model(path, num_classes=0)(x).shape == (1, 32)


@pytest.mark.parametrize("in_chans", [1, 4])
def test_another_number_of_channels_keeps_grey_images(tmp_path, fused, in_chans):
    path = save_model(fused, tmp_path / "m.pt")
    loaded = load_model(path, in_chans=in_chans)
    assert loaded.input_spec.in_chans == loaded.in_chans == in_chans
    grey = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(
        loaded(grey.expand(-1, in_chans, -1, -1)), fused(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5
    )


def test_features_only(tmp_path, model):
    path = save_model(model, tmp_path / "m.pt")
    backbone = load_model(path, features_only=True, out_indices=(1, 3), form="inference")
    assert isinstance(backbone, FeatureExtractor)
    x = torch.randn(1, 3, 64, 64)
    maps = backbone(x)
    assert [tuple(m.shape) for m in maps] == [(1, 16, 16, 16), (1, 16, 4, 4)]
    wanted = model.stages[0](model.stem(x))
    torch.testing.assert_close(maps[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options", [{"num_classes": -1}, {"in_chans": 0}, {"out_indices": (1,)}, {"form": "fused"}]
)
def test_impossible_options(options):
    with pytest.raises(ConfigError):
        load_model("mobileone_s0", **options)


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


def test_training_checkpoints_of_others(tmp_path, model, same_state):
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save(
        {"state_dict": other, "state_dict_ema": state, "epoch": 3, "args": {"lr": 0.1}}, tmp_path / "t.pt"
    )
    same_state(load_model(tmp_path / "t.pt"), model)
    torch.save({"model": {"state_dict": state}}, tmp_path / "n.pt")
    same_state(load_model(tmp_path / "n.pt"), model)


def test_parameters_and_views_in_a_state_dict(tmp_path, model, same_state):
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    weight = state["stages.0.1.conv_kxk.0.conv.weight"]
    state["stages.0.1.conv_kxk.0.conv.weight"] = (
        weight.detach().permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3)
    )
    torch.save(state, tmp_path / "p.pt")
    same_state(load_model(tmp_path / "p.pt"), model)


def test_missing_counters_are_filled(tmp_path, model):
    state = {k: v for k, v in model.state_dict().items() if "num_batches_tracked" not in k}
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert load_model(tmp_path / "old.pt").stem.conv_scale.bn.num_batches_tracked == 0


def test_the_loaded_model_owns_its_memory(tmp_path, fused):
    path = save_model(fused, tmp_path / "m.safetensors")
    loaded = load_model(path, dtype=None)
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(loaded.head.fc.weight, fused.head.fc.weight)
    assert all(p.requires_grad for p in loaded.parameters())


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(
        CheckpointError, match=r"no model mobileone_s0.apple_in1: .* did you mean mobileone_s0.apple"
    ):
        load_model("mobileone_s0.apple_in1")
    with pytest.raises(CheckpointError, match=r"no model nowhere/x\.pt"):
        describe("nowhere/x.pt")


def test_a_config_with_wrong_class_names(tmp_path, fused):
    fused.class_names = ("only one",)
    path = save_model(fused, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="1 class names for 5 classes"):
        load_model(path)


def test_a_config_of_a_later_format(tmp_path, fused):
    torch.save({"state_dict": fused.state_dict(), "mobileone": {"format_version": 99}}, tmp_path / "new.pt")
    with pytest.raises(CheckpointError, match=r"format_version '99'.*upgrade"):
        load_model(tmp_path / "new.pt")


def test_published_weights_bring_their_input_spec(tmp_path, fused, monkeypatch):
    assert len(PUBLISHED) == 25
    path = tmp_path / "pytorch_model.bin"
    torch.save(fused.state_dict(), path)
    monkeypatch.setattr(source_module, "hub_files", lambda repo, revision: (path, None))
    with pytest.raises(CheckpointError, match="published as mobileone_s2"):
        load_model("mobileone_s2.apple_in1k")
    assert load_model("hf-hub:someone/tiny@v1").num_classes == 5
    state = load_model("mobileone_s2", form="inference").state_dict()
    torch.save(state, path)
    assert describe("mobileone_s2.apple_in1k").input_spec.crop == 0.9


def test_mmpretrain_class_names(tmp_path, fused):
    meta = {"dataset_meta": {"classes": tuple("vwxyz")}, "epoch": 300}
    torch.save({"meta": meta, "state_dict": fused.state_dict()}, tmp_path / "mm.pth")
    assert load_model(tmp_path / "mm.pth").class_names == tuple("vwxyz")
