"""What a checkpoint says of itself."""

import json

import pytest
import torch

from mobileone.checkpoint.config import CONFIG_KEY, ModelConfig, from_hub
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.errors import CheckpointError
from mobileone.input_spec import InputSpec
from mobileone.variants import VARIANTS


def test_a_config_with_wrong_class_names(tmp_path, fused):
    path = save_model(fused, tmp_path / "m.pt")
    content = torch.load(path)
    content[CONFIG_KEY]["class_names"] = ["only one"]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="1 class names for 5 classes"):
        load_model(path)


@pytest.mark.parametrize("name", ["format_version", "num_classes", "class_names", "input_spec", "extra"])
def test_a_config_that_is_short_in_a_pickle_and_endless_in_a_message(name, monkeypatch):
    monkeypatch.setenv("MOBILEONE_MAX_JSON_BYTES", "100000")
    value = {"size": (1,)}
    for _ in range(60):
        value = {"size": (value, value)}
    with pytest.raises(CheckpointError, match="its config is larger than 100000"):
        ModelConfig.from_dict(FULL.to_dict() | {name: value}, source="x")


def test_a_config_of_a_later_format(tmp_path, fused):
    torch.save({"state_dict": fused.state_dict(), "mobileone": {"format_version": 99}}, tmp_path / "new.pt")
    with pytest.raises(CheckpointError, match=r"format_version '99'.*upgrade"):
        load_model(tmp_path / "new.pt")


FULL = ModelConfig(
    variant=VARIANTS["mobileone_s1"],
    form="inference",
    num_classes=2,
    in_chans=3,
    class_names=("cat", "dog"),
    input_spec=InputSpec(size=160, crop=0.9, interpolation="bicubic"),
    output_stride=16,
    extra={"epoch": 3},
    package_version="1.2",
)


def test_a_config_goes_through_json_and_through_the_hubs_file():
    assert ModelConfig.from_dict(json.loads(json.dumps(FULL.to_dict())), source="x") == FULL
    assert from_hub(json.dumps(FULL.to_hub()), source="x") == FULL


def test_what_timm_says_is_read_without_our_key():
    theirs = {key: value for key, value in FULL.to_hub().items() if key != CONFIG_KEY}
    read = from_hub(json.dumps(theirs), source="x")
    assert read == ModelConfig(input_spec=FULL.input_spec, class_names=FULL.class_names)
    flat = {"architecture": "mobileone_s1.apple_in1k", **theirs["pretrained_cfg"]}
    assert from_hub(json.dumps(flat), source="x").input_spec == FULL.input_spec
    odd = {"architecture": "mobileone_s1", "input_size": [1, 64, 64], "interpolation": "lanczos"}
    assert from_hub(json.dumps(odd), source="x").input_spec == InputSpec.for_channels(1, size=64)


def test_a_config_of_ours_is_whole_and_hints_fill_what_is_missing():
    hint = ModelConfig(class_names=("a",), input_spec=InputSpec(size=96))
    assert FULL.filled_from(hint) is FULL
    assert ModelConfig(class_names=("b",)).filled_from(hint) == ModelConfig(
        class_names=("b",), input_spec=InputSpec(size=96)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "has format_version '2', this mobileone reads 1; upgrade"),
        ({"variant": 3}, "does not describe a model"),
        ({"form": "fused"}, "does not describe a model"),
        ({"num_classes": -1}, "does not describe a model"),
        ({"class_names": ["a", 3]}, "does not describe a model"),
        ({"input_spec": {"size": 0}}, "does not describe a model"),
        ({"extra": {"losses": [float("nan")]}}, "does not describe a model"),
        ({"input_spec": {"mean": [10**400, 1, 1]}}, "does not describe a model"),
        ({"decision": {"temperatures": [10**400]}}, "temperatures of a decision must be finite"),
        (
            {"variant": {**VARIANTS["mobileone_s0"].to_dict(), "depths": [1.0, 1, 1, 1]}},
            "depths must be a whole",
        ),
    ],
)
def test_values_that_describe_no_model(change, message):
    with pytest.raises(CheckpointError, match=message):
        ModelConfig.from_dict(FULL.to_dict() | change, source="x.pt")


def test_remarks_nested_beyond_any_use():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(CheckpointError, match="does not describe a model: maximum recursion"):
        ModelConfig.from_dict(FULL.to_dict() | {"extra": {"deep": deep}}, source="x.pt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must"),
        ("{", "not valid JSON"),
        ('{"architecture": "resnet50"}', "describes 'resnet50'"),
        ('{"architecture": "mobileone_s0", "input_size": 3}', "cannot be read as a timm config"),
        ('{"architecture": "mobileone_s0", "input_size": [65537, 224, 224]}', "at most 65536"),
        ('{"architecture": "mobileone_s0", "input_size": [3, Infinity, Infinity]}', "infinity to integer"),
    ],
)
def test_files_that_are_no_config(text, message):
    with pytest.raises(CheckpointError, match=message):
        from_hub(text, source="config.json")
