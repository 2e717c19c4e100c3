"""timm opens our folders.

It does not import beside a CPU build of torch, so most of this holds a folder against what timm reads; the
last tests run timm itself where it is there.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from mobileone.checkpoint.store import save_model
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.publishing.push import push

GOLDEN = Path(__file__).parents[1] / "golden"
# Fields of timm's PretrainedCfg (1.0.x), which takes no other: what stands in pretrained_cfg is given to it.
KNOWN = {
    *("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture", "tag"),
    *("custom_load", "input_size", "test_input_size", "min_input_size", "fixed_input_size"),
    *("interpolation", "crop_pct", "test_crop_pct", "crop_mode", "mean", "std", "num_classes"),
    *("label_offset", "label_names", "label_descriptions", "pool_size", "test_pool_size", "first_conv"),
    *("classifier", "license", "description", "origin_url", "paper_name", "paper_ids", "notes"),
}


def saved(folder, name="mobileone_s0", **options):
    torch.manual_seed(0)
    model = create_model(name, **options).eval()
    save_model(model, folder)
    config = json.loads((folder / "config.json").read_text())
    with safe_open(folder / "model.safetensors", "pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    return model, config, shapes


@pytest.mark.parametrize("name", ["mobileone_s0", "mobileone_s4"])
def test_the_tensors_are_those_of_timms_own_network(name, tmp_path):
    _, config, shapes = saved(tmp_path / "m", name)
    assert config["architecture"] == name
    # timm loads with strict=True: these names and no others.
    assert sorted(shapes) == (GOLDEN / f"keys_{name}_train.txt").read_text().split()


def test_the_config_is_one_that_timm_takes(tmp_path):
    spec = InputSpec(size=(64, 96), mean=(0.5,), std=(0.25,))
    options = {"num_classes": 3, "in_chans": 1, "input_spec": spec, "class_names": ("a", "b", "c")}
    model, config, shapes = saved(tmp_path / "m", **options)
    cfg = config["pretrained_cfg"]
    assert set(cfg) <= KNOWN
    assert (config["num_classes"], config["label_names"], config["num_features"]) == (
        3,
        ["a", "b", "c"],
        1024,
    )
    # in_chans of the network is the first of input_size.
    assert (cfg["input_size"], cfg["num_classes"]) == ([1, 64, 96], 3)
    assert "model_args" not in config
    # Other channels or classes are adapted by these names, without ".weight".
    assert all(shapes[f"{each}.weight"][1] == 1 for each in cfg["first_conv"])
    stems = [each for each in model.state_dict() if each.startswith("stem.") and each.endswith("conv.weight")]
    assert sorted(f"{each}.weight" for each in cfg["first_conv"]) == sorted(stems)[-2:] == sorted(stems)
    assert shapes[f"{cfg['classifier']}.weight"] == (3, 1024)


def test_dilation_is_an_argument_of_timms_network(tmp_path):
    _, config, _ = saved(tmp_path / "m", output_stride=8)
    assert config["model_args"] == {"output_stride": 8}


@pytest.fixture
def timm():
    try:
        return __import__("timm")
    except Exception as error:  # torchvision beside another build of torch raises more than ImportError
        pytest.skip(f"timm does not import here: {error}")


@pytest.mark.parametrize(
    "options", [{"num_classes": 5}, {"num_classes": 0}, {"num_classes": 2, "output_stride": 8}]
)
def test_timm_opens_a_folder(timm, options, tmp_path):
    model, _, _ = saved(tmp_path / "m", **options)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(theirs(images), model(images), rtol=1e-4, atol=1e-5)


def test_timm_opens_what_was_pushed(timm, at_local_hub, tmp_path):
    torch.manual_seed(0)
    model = create_model("mobileone_s0", num_classes=2, class_names=("cat", "dog")).eval()
    push(save_model(model, tmp_path / "m.safetensors"), "hf:me/pets", license="mit")
    theirs = timm.create_model("hf-hub:me/pets", pretrained=True).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(theirs(images), model(images), rtol=1e-4, atol=1e-5)
