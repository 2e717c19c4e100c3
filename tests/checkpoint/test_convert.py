import pytest
import torch

from mobileone.checkpoint.convert import convert
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.errors import CheckpointError, ConfigError
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model

SUFFIX = {"timm": ".safetensors", "apple": ".pth.tar", "mmpretrain": ".pth", "reference": ".pt"}


@pytest.mark.parametrize("there", SUFFIX)
@pytest.mark.parametrize("form", ["train", "inference"])
def test_there_and_back_is_the_same_file(tmp_path, model, fused, same_state, there, form):
    ours = model if form == "train" else fused
    ours.input_spec = InputSpec(size=96, crop=1.0)
    start = save_model(ours, tmp_path / "start.safetensors", extra={"epoch": 3})
    middle = convert(start, tmp_path / f"middle{SUFFIX[there]}", to=there)
    assert describe(middle).format == there
    assert describe(middle).form == form
    end = convert(middle, tmp_path / "end.safetensors", to="timm")
    same_state(load_model(end), ours)
    if there != "apple":  # a bare state dict: nowhere to put them
        assert end.read_bytes() == start.read_bytes()


@pytest.mark.parametrize("to", ["apple", "mmpretrain", "reference"])
def test_the_precision_of_the_file_is_kept(tmp_path, fused, to):
    start = save_model(fused.half(), tmp_path / "half.safetensors")
    back = load_model(convert(start, tmp_path / "half.pth", to=to), dtype=None)
    assert back.stem.reparam_conv.weight.dtype == torch.float16


def test_fusing_on_the_way(tmp_path, model, fused, same_state):
    start = save_model(model, tmp_path / "m.safetensors")
    same_state(load_model(convert(start, tmp_path / "a.pth", to="apple", form="inference")), fused)


def test_plain_formats_are_plain_data(tmp_path, fused):
    start = save_model(fused, tmp_path / "m.safetensors")
    apple = torch.load(convert(start, tmp_path / "a.pth.tar", to="apple"), weights_only=True)
    assert set(apple) >= {"stage0.reparam_conv.weight", "stage3.2.se.reduce.bias", "linear.weight"}
    mm = torch.load(convert(start, tmp_path / "m.pth", to="mmpretrain"), weights_only=True)
    assert mm["meta"]["dataset_meta"]["classes"] == tuple("abcde")
    assert "backbone.stage0.branch_reparam.weight" in mm["state_dict"]


@pytest.mark.parametrize("to", ["apple", "mmpretrain", "reference"])
def test_dilation_cannot_go_where_names_alone_go(tmp_path, tiny, to):
    start = save_model(create_model(tiny, output_stride=8), tmp_path / "dense.safetensors")
    with pytest.raises(CheckpointError, match="dilation"):
        convert(start, tmp_path / "a.pth", to=to)
    assert not (tmp_path / "a.pth").exists()


def test_wrong_suffix_and_format(tmp_path, fused):
    start = save_model(fused, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=r"apple checkpoints are \.pt"):
        convert(start, tmp_path / "a.safetensors", to="apple")
    with pytest.raises(CheckpointError, match="unknown suffix"):
        convert(start, tmp_path / "a.onnx", to="timm")
    with pytest.raises(ConfigError, match="unknown format 'onnx'"):
        convert(start, tmp_path / "a.pt", to="onnx")
    assert list(tmp_path.iterdir()) == [start]
