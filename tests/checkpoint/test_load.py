import pytest
import torch

from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.errors import ConfigError
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


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_weights_are_refused_by_name(tmp_path, fused, refused, value):
    path = save_model(fused, tmp_path / "nan.pt")
    content = torch.load(path)
    content["state_dict"]["stages.2.1.reparam_conv.weight"][3, 0, 0, 0] = value
    torch.save(content, path)
    assert "stages.2.1.reparam_conv.weight has NaN or infinite" in refused(path, by_info=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "gpu"}, "device must be cpu, cuda"),
        ({"device": "cuda:99"}, "device cuda:99 is not here"),
        ({"dtype": "float16"}, "dtype must be a floating-point torch.dtype"),
        ({"dtype": torch.int8}, "got torch.int8"),
        ({"form": "fused"}, "form must be train or inference"),
        ({"num_classes": "10"}, "num_classes must be a whole number, got '10'"),
        ({"num_classes": -1}, "num_classes must be 0 or more, got -1"),
        ({"in_chans": 1.5}, "in_chans must be a whole number"),
        ({"in_chans": 0}, "in_chans must be at least 1"),
        ({"out_indices": (1,)}, "needs features_only"),
        ({"features_only": True, "out_indices": ("1",)}, "out_indices must be"),
        ({"features_only": True, "out_indices": 3}, "out_indices must be"),
    ],
)
def test_misspelt_options_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        load_model("mobileone_s0", **options)
