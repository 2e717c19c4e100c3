"""Weights and config within what others pickle."""

import copy
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from mobileone.checkpoint.config import ModelConfig
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.pickle_values import Record, StorageRef, TensorRef
from mobileone.checkpoint.state_finder import find_config, find_tables
from mobileone.decision import Decision
from mobileone.errors import CheckpointError, MobileOneWarning
from mobileone.model.create import create_model


def test_training_checkpoints_of_others(tmp_path, model, same_state):
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save(
        {"state_dict": other, "state_dict_ema": state, "epoch": 3, "args": {"lr": 0.1}}, tmp_path / "t.pt"
    )
    with pytest.warns(
        MobileOneWarning, match=r"took the weights under state_dict_ema\.module; there are others"
    ):
        same_state(load_model(tmp_path / "t.pt"), model)
    torch.save({"model": {"state_dict": state}}, tmp_path / "n.pt")
    same_state(load_model(tmp_path / "n.pt"), model)


def test_mmpretrain_class_names(tmp_path, fused):
    meta = {"dataset_meta": {"classes": tuple("vwxyz")}, "epoch": 300}
    torch.save({"meta": meta, "state_dict": fused.state_dict()}, tmp_path / "mm.pth")
    assert load_model(tmp_path / "mm.pth").class_names == tuple("vwxyz")


REF = TensorRef(StorageRef("0", "F32", 4), 0, (4,), (1,))


def module(parameters=(), buffers=(), children=(), transient=()):
    """A pickled module, as the reader leaves it."""
    state = {
        "_parameters": dict(parameters), "_buffers": dict(buffers), "_modules": dict(children),
        "_non_persistent_buffers_set": set(transient),
    }  # fmt: skip
    return Record("nets.nn.Thing", state=state)


def find(tree):
    return find_tables(tree, source=Path("x.pt"))


def test_a_module_becomes_its_state_dict_in_order():
    inner = module({"weight": REF, "bias": None}, {"seen": REF, "scratch": REF}, transient=["scratch"])
    tree = {"model": module({"scale": REF}, children={"first": inner, "none": None, "second": inner})}
    tables = find(tree)
    assert list(tables) == ["model"]
    assert list(tables["model"]) == ["scale", "first.weight", "first.seen", "second.weight", "second.seen"]


def test_every_table_is_found_wherever_it_stands_and_once():
    raw = {"raw": REF}
    tree = {
        "epoch": 3,
        "model": {"state_dict": raw},
        "again": raw,
        "model_ema": {"module": {"averaged": REF}},
    }
    assert find(tree) == {"again": raw, "model_ema.module": {"averaged": REF}}
    assert find({"w": REF}) == {"": {"w": REF}}
    helper = Record("mine.Ema", state={"decay": 0.9, "shadow": raw})
    assert find({"ema": helper}) == {"ema.shadow": raw}
    assert find(Record("mine.Dict", entries={"w": REF})) == {"": {"w": REF}}


def test_what_is_no_named_tensor_is_left_out():
    assert find({"w": REF, "note": "x", "epoch": 3, "a\nb": REF, 7: REF}) == {"": {"w": REF}}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([1], "its content is of type list, not weights"),
        (REF, "its content is a tensor, not weights"),
        ({"lr": 0.1, "epoch": 3}, "no weights in it; its keys: lr, epoch"),
        ({"a": {"b": {"c": {"d": {"e": {"w": REF}}}}}}, "no weights in it; its keys: a"),
        (Record("a.B"), "its content is of class a.B, not weights"),
        (module(children={"a": Record("a.B")}), "'a' in it is of class a.B, no module with weights"),
        (module({"a\nb": REF}), "no proper name"),
    ],
)
def test_what_holds_no_weights(tree, message):
    with pytest.raises(CheckpointError, match=message):
        find(tree)


def test_a_module_within_itself_ends():
    endless = module()
    endless.state["_modules"]["again"] = endless
    with pytest.raises(CheckpointError):
        find(endless)


def test_a_table_within_itself_ends():
    endless = {"w": REF}
    endless["again"] = endless
    assert list(find(endless)) == [""]


def test_a_network_of_ours_that_was_changed_is_refused(tmp_path, fused, refused):
    # `torch.save(model)` keeps classes and hooks; weights alone would be another function.
    path = tmp_path / "changed.pt"
    fused.stages[1][0].act = nn.SiLU()
    torch.save(fused, path)
    assert "stages.1.0.act in it is of class torch.nn.modules.activation.SiLU" in refused(path)
    fused.stages[1][0].act = nn.ReLU()
    fused.stem.register_forward_hook(print)
    torch.save({"model": fused}, path)
    refused(path)


def own_modules(unit):
    """What may be changed in a unit without its tensors telling, and how the refusal begins."""
    yield unit.bn, "eps", 1e-3, "bn in it has eps=(0.001,), not (1e-05,)"
    yield unit.conv, "padding_mode", "reflect", "conv in it has padding_mode=('reflect',), not ('zeros',)"
    yield unit.conv, "stride", (1, 1), r"conv in it has stride=(1, 1), not (2, 2)"


@pytest.mark.parametrize("which", range(3))
def test_settings_that_the_weights_do_not_tell_are_refused(tmp_path, model, refused, which):
    torch.save(model, tmp_path / "whole.pt")
    load_model(tmp_path / "whole.pt")
    part, name, value, message = list(own_modules(model.stages[0][0].conv_kxk[1]))[which]
    setattr(part, name, value)
    torch.save(model, tmp_path / "changed.pt")
    assert f"stages.0.0.conv_kxk.1.{message}" in refused(tmp_path / "changed.pt")


def test_another_attention_is_refused(tmp_path, fused, refused):
    fused.stem.attn = nn.Sigmoid()
    torch.save(fused, tmp_path / "changed.pt")
    assert "stem.attn in it is of class torch.nn.modules.activation.Sigmoid" in refused(
        tmp_path / "changed.pt"
    )


def test_a_pickled_network_keeps_its_dilation_alone_and_beside_others(tmp_path, tiny):
    features = create_model(tiny, features_only=True, output_stride=16).eval()
    beside = nn.ModuleDict({"backbone": features, "neck": nn.BatchNorm2d(3, eps=0.1)})
    x = torch.randn(1, 3, 64, 64)
    for name, content in (
        ("alone", features),
        ("beside", beside),
        ("averaged", {"model": features, "ema": copy.deepcopy(features)}),
    ):
        torch.save(content, tmp_path / name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MobileOneWarning)
            loaded = load_model(tmp_path / name, features_only=True)
        assert loaded.output_stride == 16
        torch.testing.assert_close(loaded(x)[-1], features(x)[-1])


def test_a_pickled_network_keeps_its_calibration_until_it_looks_otherwise(tmp_path, fused, refused):
    fused.decision = Decision(temperatures=(1.5,), thresholds=(0.7,), evidence={"n": 3})
    torch.save(fused, tmp_path / "calibrated.pt")
    assert load_model(tmp_path / "calibrated.pt").decision == fused.decision
    fused.set_input_size(96)
    torch.save(fused, tmp_path / "other_size.pt")
    assert load_model(tmp_path / "other_size.pt").decision is None
    spoilt = Decision(temperatures=(1.5,))
    object.__setattr__(spoilt, "temperatures", (float("nan"),))
    fused._decided = (spoilt, fused.input_spec)
    torch.save(fused, tmp_path / "spoilt.pt")
    assert "temperatures of a decision must be finite" in refused(tmp_path / "spoilt.pt")


def test_whose_config_is_read():
    own = ModelConfig(num_classes=3, package_version="1")
    assert find_config({"mobileone": own.to_dict()}, source="x") == own
    assert find_config({"meta": {"mobileone": own.to_dict()}}, source="x") == own
    assert find_config({"meta": {"dataset_meta": {"CLASSES": ["a", "b"]}}}, source="x").class_names == (
        "a",
        "b",
    )
    assert find_config({"meta": {"dataset_meta": {"classes": ["a", 3]}}}, source="x") == ModelConfig()
    assert find_config([1], source="x") == ModelConfig()
