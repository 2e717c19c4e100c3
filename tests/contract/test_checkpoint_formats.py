"""Every variant, form and format, there and back; the real Apple weights; timm's names as text."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mobileone.checkpoint.convert import convert
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.recognition import expected_shapes
from mobileone.checkpoint.store import save_model
from mobileone.model.create import create_model
from mobileone.variants import VARIANTS

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SUFFIX = {"timm": ".pth", "apple": ".pth.tar", "mmpretrain": ".pth", "reference": ".pt"}
# The rest is slow only because the files are large. tests/checkpoint/test_recognition.py has every variant
# by names and shapes, test_convert.py every format with attention in both forms on a small network.
FAST = {("mobileone_s0", "inference"), ("mobileone_s0", "train")}
PRODUCT = [
    pytest.param(name, form, marks=() if (name, form) in FAST else pytest.mark.slow)
    for name in VARIANTS
    for form in ("train", "inference")
]


@pytest.mark.parametrize(("name", "form"), PRODUCT)
def test_every_format_there_and_back(tmp_path, name, form):
    model = create_model(name, num_classes=3, form=form).eval()
    wanted = model.state_dict()
    path = save_model(model, tmp_path / "start.safetensors")
    for to, suffix in SUFFIX.items():  # a chain: each reads what the one before wrote
        path = convert(path, tmp_path / f"{to}{suffix}", to=to)
        card = describe(path)
        assert (card.format, card.variant.name, card.form, card.num_classes) == (to, name, form, 3)
        assert card.num_parameters == sum(p.numel() for p in model.parameters())
    got = load_model(path).state_dict()
    assert list(got) == list(wanted)
    assert [key for key in wanted if not torch.equal(got[key], wanted[key])] == []


@pytest.fixture(scope="module")
def apple(shared_data):
    """Apple's published S0 file, an input, and the logits that Apple's own code gives for it."""
    folder = shared_data / "apple_s0"
    golden = np.load(folder / "golden_logits.npz")
    return (
        folder / "mobileone_s0.pth.tar",
        torch.from_numpy(golden["image"]),
        torch.from_numpy(golden["logits"]),
    )


def largest_difference(source, x, logits, **options):
    with torch.inference_mode():
        return float((load_model(source, **options)(x) - logits).abs().max())


def test_apples_published_weights(apple):
    source, x, logits = apple
    card = describe(source)
    assert (card.format, card.form, card.variant.name) == ("apple", "inference", "mobileone_s0")
    assert card.num_parameters == 2_078_504
    assert largest_difference(source, x, logits) < 1e-4


@pytest.mark.parametrize("to", SUFFIX)
def test_apples_weights_after_every_conversion_and_back(apple, tmp_path, to):
    source, x, logits = apple
    there = convert(source, tmp_path / f"there{SUFFIX[to]}", to=to)
    assert largest_difference(there, x, logits) < 1e-4
    back = convert(there, tmp_path / "back.pth.tar", to="apple")
    assert largest_difference(back, x, logits) < 1e-4
    original = torch.load(source, weights_only=True)
    returned = torch.load(back, weights_only=True)
    assert returned.keys() == original.keys()
    assert all(torch.equal(returned[key], original[key]) for key in original)


@pytest.mark.slow
@pytest.mark.parametrize("to", SUFFIX)
def test_apples_weights_expanded_converted_and_fused_again(apple, tmp_path, to):
    source, x, logits = apple
    there = convert(source, tmp_path / f"there{SUFFIX[to]}", to=to, form="train")
    assert describe(there).form == "train"
    assert largest_difference(there, x, logits) < 1e-4
    back = convert(there, tmp_path / "back.safetensors", to="timm", form="inference")
    assert largest_difference(back, x, logits) < 1e-4


@pytest.mark.parametrize("form", ["train", "inference"])
@pytest.mark.parametrize("name", ["mobileone_s0", "mobileone_s4"])
def test_names_are_timms(name, form):
    # Written by timm's own network (1.0.29.dev0, fused by its reparameterize_model), sorted.
    names = (GOLDEN / f"keys_{name}_{form}.txt").read_text().split()
    assert sorted(expected_shapes(VARIANTS[name], form=form)) == names
    with torch.device("meta" if form == "train" else "cpu"):
        assert sorted(create_model(name, form=form).state_dict()) == names
