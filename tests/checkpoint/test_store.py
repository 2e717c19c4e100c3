import json
import random

import numpy as np
import pytest
import torch
from safetensors import safe_open

from mobileone.checkpoint.convert import convert
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.published import ORIGIN_KEY
from mobileone.checkpoint.store import load_state, save_model, save_state
from mobileone.decision import Decision
from mobileone.errors import CheckpointError, ConfigError, MobileOneError
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.reparam.fuse import reparameterize


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.pth", "a.pth.tar", "folder"])
@pytest.mark.parametrize("form", ["train", "inference"])
def test_everything_comes_back(tmp_path, model, fused, same_state, name, form):
    saved = model if form == "train" else fused
    saved.input_spec = InputSpec(size=160, crop=0.9, interpolation="bicubic")
    saved.decision = Decision(temperatures=(1.5,), thresholds=(0.5, 0.6, 0.7, 0.8, 0.9), evidence={"n": 3})
    path = save_model(saved, tmp_path / "deep" / name, extra={"epoch": 3, "acc@1": 71.25})
    loaded = load_model(path)
    same_state(loaded, saved)
    for attribute in ("variant", "form", "num_classes", "in_chans", "class_names", "input_spec", "decision"):
        assert getattr(loaded, attribute) == getattr(saved, attribute), attribute
    assert describe(path).decision == saved.decision
    other = "inference" if form == "train" else "train"
    assert load_model(path, form=other).decision == saved.decision
    assert load_model(path, num_classes=3).decision is None
    assert load_model(path, in_chans=1).decision is None
    assert not loaded.training
    assert describe(path).metadata == {"epoch": 3, "acc@1": 71.25}


def test_a_header_length_that_looks_like_a_pickle(tmp_path, fused):
    for padding in range(0, 300, 8):
        path = save_model(fused, tmp_path / "m.safetensors", extra={"note": "x" * padding})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert load_model(path).num_classes == 5


def test_channels_last_and_half_precision_weights(tmp_path, model, same_state):
    saved = model.half().to(memory_format=torch.channels_last)
    path = save_model(saved, tmp_path / "half.safetensors")
    loaded = load_model(path, dtype=None)
    same_state(loaded, saved)
    assert next(loaded.parameters()).dtype == torch.float16
    assert next(load_model(path).parameters()).dtype == torch.float32


def test_dilation_is_kept(tmp_path, tiny):
    dilated = create_model(tiny, output_stride=8).eval()
    loaded = load_model(save_model(dilated, tmp_path / "dense.safetensors"))
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded(x), dilated(x))
    assert loaded.forward_features(x).shape[-1] == 8


def test_a_pt_file_is_plain_data_to_torch(tmp_path, model):
    content = torch.load(save_model(model, tmp_path / "m.pt"), weights_only=True)
    assert content["mobileone"]["class_names"] == list("abcde")
    assert content["state_dict"].keys() == model.state_dict().keys()


def test_the_folder_is_laid_out_for_the_hub(tmp_path):
    model = create_model("mobileone_s0", num_classes=2, class_names=["cat", "dog"])
    save_model(model, tmp_path / "repo")
    config = json.loads((tmp_path / "repo" / "config.json").read_text())
    assert config["architecture"] == "mobileone_s0"
    assert config["num_features"] == 1024
    assert config["label_names"] == ["cat", "dog"]
    assert config["pretrained_cfg"]["input_size"] == [3, 224, 224]
    first = config["pretrained_cfg"]["first_conv"]
    with safe_open(tmp_path / "repo" / "model.safetensors", framework="pt") as file:
        assert {f"{name}.weight" for name in first} <= set(file.keys())


def test_an_existing_folder_may_have_a_dot(tmp_path, fused):
    folder = tmp_path / "v1.0"
    folder.mkdir()
    assert load_model(save_model(fused, folder)).num_classes == 5


@pytest.mark.parametrize(
    ("name", "extra", "expected"),
    [
        ("m.onnx", None, "unknown suffix '.onnx'"),
        ("m.pt", {"when": object()}, "JSON"),
        ("m.pt", {"loss": float("nan")}, "JSON"),
    ],
)
def test_what_cannot_be_saved(tmp_path, fused, name, extra, expected):
    with pytest.raises(CheckpointError, match=expected):
        save_model(fused, tmp_path / name, extra=extra)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, fused, monkeypatch):
    path = save_model(fused, tmp_path / "m.pt")
    before = path.read_bytes()

    def broken(*args, **kwargs):
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(CheckpointError, match=r"m\.pt: PytorchStreamWriter"):
        save_model(fused, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_state_of_a_run_comes_back(tmp_path, model):
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model.train()(torch.randn(2, 3, 64, 64)).sum().backward()
    optimizer.step()
    state = {
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "rng": {"torch": torch.get_rng_state(), "python": random.getstate()},
        "history": [{"loss": 0.5, "best": None}],
    }
    loaded = load_state(save_state(state, tmp_path / "last.state"))
    assert loaded["rng"]["python"] == state["rng"]["python"]
    assert loaded["history"] == state["history"]
    momentum = loaded["optimizer"]["state"][0]["momentum_buffer"]
    assert torch.equal(momentum, optimizer.state_dict()["state"][0]["momentum_buffer"])


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"rng": {"numpy": np.zeros(3)}}, "state['rng']['numpy'], a ndarray"),
        ({"history": [1, {2}]}, "state['history'][1], a set"),
        ({"lr": np.float64(0.1)}, "state['lr'], a float64"),
        ({("a", object()): 1}, "a key of state[1], a object"),
    ],
)
def test_state_that_could_not_be_read_again_is_not_written(tmp_path, value, where):
    with pytest.raises(CheckpointError) as caught:
        save_state(value, tmp_path / "last.state")
    assert f"cannot save {where}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x80\x02}."])
def test_damaged_state(tmp_path, content):
    path = tmp_path / "last.state"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.state"):
        load_state(path)


def test_state_with_a_foreign_object_or_of_another_kind(tmp_path):
    path = tmp_path / "last.state"
    torch.save({"spec": InputSpec()}, path)
    with pytest.raises(
        CheckpointError, match=r"cannot read .*last\.state: not a resume file of mobileone .*InputSpec"
    ) as caught:
        load_state(path)
    assert "\n" not in str(caught.value)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        load_state(path)
    with pytest.raises(CheckpointError, match="No such file"):
        load_state(tmp_path / "missing.state")


def test_a_head_put_in_by_hand_is_saved_with_its_own_classes(tmp_path, model):
    model.head.fc = torch.nn.Linear(32, 2)
    path = save_model(model, tmp_path / "two.safetensors")
    loaded = load_model(path)
    assert (loaded.num_classes, loaded.class_names) == (2, None)
    assert torch.equal(loaded.head.fc.weight, model.head.fc.weight)


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt", "folder"])
def test_what_could_not_be_loaded_is_not_written(tmp_path, model, name):
    """Loading builds a network from its config; each of these gave a file that it refused, or misread."""

    def save(expected):
        with pytest.raises(CheckpointError, match=expected):
            save_model(model, tmp_path / name)
        assert list(tmp_path.iterdir()) == []

    fc = model.head.fc
    model.head.fc = torch.nn.Sequential(torch.nn.Dropout(), fc)
    save(
        r"cannot save this tiny, part of it would be lost: head\.fc is a Sequential, not a Linear; undo that"
    )
    model.head.fc = fc
    model.class_names = [0, 1, 2, 3, 4]
    save("class names must be a list of strings")
    model.class_names = None
    model.input_spec = InputSpec.for_channels(1)
    save("contradicts itself: input_spec is for 1 channels")
    model.input_spec = InputSpec()
    with torch.no_grad():
        model.stem.conv_scale.bn.running_var[0] = float("inf")
    save(r"stem\.conv_scale\.bn\.running_var has NaN or infinite values")


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_wrapped_models_are_saved_without_the_wrapper(tmp_path, model, same_state):
    for wrap in (torch.nn.DataParallel, torch.compile, torch.optim.swa_utils.AveragedModel):
        same_state(load_model(save_model(wrap(model), tmp_path / "m.safetensors")), model)
    with pytest.raises(ConfigError, match="save_model takes a MobileOne, got FeatureExtractor"):
        save_model(create_model("mobileone_s0", features_only=True), tmp_path / "features.pt")


def test_what_files_cannot_hold_is_not_saved(tmp_path, model):
    with pytest.raises(ConfigError, match=r"the file to save to must be a name in UTF-8, got .*caf\\xe9"):
        save_model(model, tmp_path / "caf\udce9.safetensors")
    model.class_names = ("caf\udce9", *(str(n) for n in range(model.num_classes - 1)))
    with pytest.raises(MobileOneError, match=r"a class name must be a name in UTF-8, got caf\\xe9"):
        save_model(model, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("features_only", [False, True])
def test_weights_keep_their_licence_in_every_form_and_file(tmp_path, model, features_only):
    assert load_model(save_model(model, tmp_path / "own.safetensors")).licence is None
    theirs = convert(tmp_path / "own.safetensors", tmp_path / "theirs.pth", to="apple")
    copied = save_model(load_model(theirs, form="inference"), tmp_path / "copied.safetensors")
    loaded = load_model(copied, form="train", features_only=features_only)
    assert loaded.licence == "apple"
    assert reparameterize(loaded.eval()).licence == "apple"


def test_weights_keep_the_name_of_the_published_ones_that_they_began_with(tmp_path, model):
    save_model(model, tmp_path / "converted.safetensors", extra={ORIGIN_KEY: "mobileone_s0.apple_in1k"})
    loaded = load_model(tmp_path / "converted.safetensors")
    torch.save(loaded, tmp_path / "whole.pt")
    save_model(reparameterize(load_model(tmp_path / "whole.pt")), tmp_path / "saved.pt")
    for name in ("whole.pt", "saved.pt"):
        again = load_model(tmp_path / name)
        assert (again.began_with, again.licence) == ("mobileone_s0.apple_in1k", "apple")
