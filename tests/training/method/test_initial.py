"""The network before its first step: fresh, fine-tuned, from a fused file, for other classes."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from mobileone.checkpoint.store import save_model
from mobileone.data.digits import Digits, load_digits
from mobileone.decision import Decision
from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.model.network import MobileOne
from mobileone.reparam.fuse import reparameterize
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.initial import initial_model, start_residual_
from mobileone.variants import VARIANTS, Variant

DIGITS = tuple("0123456789")


def scans(digits: Digits) -> torch.Tensor:
    return torch.from_numpy(digits.images).permute(0, 3, 1, 2)  # (N, H, W, C) → (N, C, H, W)


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load_digits("train")


@pytest.fixture
def trained(tiny: Variant) -> MobileOne:
    """A network with statistics of real digits."""
    torch.manual_seed(3)
    spec = InputSpec(size=32, crop=1.0, mean=(0.2, 0.2, 0.2), std=(0.3, 0.3, 0.3))
    model = create_model(tiny, num_classes=10, input_spec=spec, class_names=DIGITS).train()
    images = F.interpolate(scans(load_digits("train")).float(), (32, 32)) / 255
    for part in ((images - 0.2) / 0.3).split(128):
        model(part)
    return model.eval()


def test_a_fresh_network_follows_the_seed_and_carries_spec_and_classes(tiny: Variant, digits: Digits) -> None:
    config = TrainConfig(model=tiny, seed=5).with_values({"input_spec.size": 48, "input_spec.crop": 0.9})
    model = initial_model(config, digits)
    assert (model.num_classes, model.class_names, model.form) == (10, DIGITS, "train")
    assert (model.input_spec.size, model.input_spec.crop) == (48, 0.9)
    same = initial_model(config, digits).state_dict()
    assert all(torch.equal(same[name], value) for name, value in model.state_dict().items())
    other = initial_model(dataclasses.replace(config, seed=6), digits)
    assert not torch.equal(other.head.fc.weight, model.head.fc.weight)


def test_weights_of_a_file_go_on_with_the_runs_size_and_the_files_statistics(
    trained: MobileOne, digits: Digits, tmp_path: Path
) -> None:
    path = save_model(trained, tmp_path / "m.safetensors")
    model = initial_model(
        TrainConfig(model=None, init=str(path)).with_values({"input_spec.size": 40}), digits
    )
    assert torch.equal(model.head.fc.weight, trained.head.fc.weight)
    assert model.variant == trained.variant
    assert (model.input_spec.size, model.input_spec.mean) == (40, (0.2, 0.2, 0.2))


def test_other_classes_get_a_fresh_head_on_the_same_trunk(
    trained: MobileOne, digits: Digits, tmp_path: Path
) -> None:
    path = save_model(trained, tmp_path / "m.safetensors")
    few = dataclasses.replace(digits, classes=("a", "b"), labels=digits.labels % 2)
    model = initial_model(TrainConfig(model=None, init=str(path)), few)
    assert (model.num_classes, model.class_names) == (2, ("a", "b"))
    assert torch.equal(model.stem.conv_kxk[0].conv.weight, trained.stem.conv_kxk[0].conv.weight)
    renamed = dataclasses.replace(digits, classes=tuple("abcdefghij"))
    model = initial_model(TrainConfig(model=None, init=str(path)), renamed)
    assert model.class_names == tuple("abcdefghij")
    assert not torch.equal(model.head.fc.weight, trained.head.fc.weight)


def test_fused_weights_get_their_branches_back_with_statistics_of_the_data(
    trained: MobileOne, digits: Digits, tmp_path: Path
) -> None:
    fused = reparameterize(trained)
    path = save_model(fused, tmp_path / "fused.safetensors")
    model = initial_model(
        TrainConfig(model=None, init=str(path)).with_values({"input_spec.size": 32, "input_spec.crop": 1.0}),
        digits,
    )
    assert model.form == "train"
    images = F.interpolate(scans(digits)[:64].float(), (32, 32), mode="bilinear") / 255
    x = (images - 0.2) / 0.3
    with torch.no_grad():
        expected = fused(x)
        torch.testing.assert_close(model.eval()(x), expected, rtol=1e-3, atol=1e-3)
        started = model.train()(x)  # batch statistics are near those that were stored
    scale = expected.std()
    assert (started - expected).abs().mean() < 0.3 * scale


@pytest.mark.parametrize("stored", ["train", "inference"])
def test_the_fused_network_itself_can_be_trained(
    trained: MobileOne, digits: Digits, tmp_path: Path, stored: str
) -> None:
    fused = reparameterize(trained)
    path = save_model(trained if stored == "train" else fused, tmp_path / "m.safetensors")
    model = initial_model(TrainConfig(model=None, init=str(path), form="inference"), digits)
    assert model.form == "inference"
    assert torch.equal(model.stem.reparam_conv.weight, fused.stem.reparam_conv.weight)
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ConfigError, match="form=inference has no BatchNorm to train from nothing with; set"):
        TrainConfig(form="inference")


def test_weights_of_another_network_are_refused(trained: MobileOne, digits: Digits, tmp_path: Path) -> None:
    path = save_model(trained, tmp_path / "m.safetensors")
    with pytest.raises(ConfigError, match="holds tiny, model is mobileone_s0; set model=none"):
        initial_model(TrainConfig(model="mobileone_s0", init=str(path)), digits)


def test_the_residual_start_evens_the_gradients_out(digits: Digits) -> None:
    torch.manual_seed(0)
    # 11 units in a row of stage 3 show the growth; S0 whole would take longer.
    deep = dataclasses.replace(VARIANTS["mobileone_s0"], name="deep", widths=(16, 16, 16, 32))
    x = F.interpolate(scans(digits)[:32].float() / 255 - 0.3, (32, 32))
    growth = []
    for residual in (False, True):
        model = create_model(deep, num_classes=10).train()
        if residual:
            start_residual_(model)
        F.cross_entropy(model(x), torch.from_numpy(digits.labels[:32])).backward()
        first, last = model.stages[1][0].conv_kxk[0].conv, model.stages[3][1].conv_kxk[0].conv
        growth.append((first.weight.grad.norm() / last.weight.grad.norm()).item())
    assert growth[1] < growth[0] / 4, growth


def test_the_residual_start_is_off_in_the_papers_recipes_and_changes_no_names(tiny: Variant) -> None:
    assert not TrainConfig().residual_start
    model = create_model(tiny, num_classes=3)
    names = list(model.state_dict())
    start_residual_(model)
    assert list(model.state_dict()) == names
    assert set(model.stem.conv_kxk[0].bn.weight.tolist()) == {0.5}  # one convolution and a scale
    assert model.stages[0][1].conv_kxk[0].bn.weight.tolist() == pytest.approx([0.2] * 8)
    assert set(model.stages[0][1].identity.bias.tolist()) == {1.0}


def test_a_decision_is_not_that_of_weights_that_will_change(
    trained: MobileOne, digits: Digits, tmp_path: Path
) -> None:
    trained.decision = Decision(temperatures=(2.0,))
    path = save_model(trained, tmp_path / "m.safetensors")
    config = TrainConfig(model=None, init=str(path), input_spec=trained.input_spec)
    assert initial_model(config, digits).decision is None
