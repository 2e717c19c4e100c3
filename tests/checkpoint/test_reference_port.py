"""The reference port's pickled modules, read without its code and written for its code.

The classes here are a stand-in for its module `nets.nn`: the same class and attribute names, and forwards
that use them. They exist under that name only while a file is pickled or unpickled by torch itself.
"""

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from mobileone.checkpoint.convert import convert
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.errors import CheckpointError


class SE(nn.Module):
    def __init__(self, channels):
        super().__init__()
        layers = [nn.Conv2d(channels, channels // 16, 1), nn.ReLU(), nn.Conv2d(channels // 16, channels, 1)]
        self.se = nn.Sequential(nn.AdaptiveAvgPool2d(1), *layers, nn.Sigmoid())

    def forward(self, x):
        return self.se(x) * x


class Conv(nn.Module):
    def __init__(self, spec, kernel, padding):
        super().__init__()
        self.conv = nn.Conv2d(
            spec.in_channels, spec.out_channels, kernel, spec.strides, padding, groups=spec.groups, bias=False
        )
        self.norm = nn.BatchNorm2d(spec.out_channels)

    def forward(self, x):
        return self.norm(self.conv(x))


class Residual(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.relu, self.conv = nn.ReLU(), nn.Identity()
        self.se = SE(spec.out_channels) if spec.use_se else nn.Identity()
        branches = range(spec.num_conv_branches)
        self.conv1 = nn.ModuleList([Conv(spec, spec.kernel, spec.paddings) for _ in branches])
        self.conv2 = Conv(spec, 1, 0) if spec.use_scale else None
        self.identity = nn.BatchNorm2d(spec.in_channels) if spec.use_identity else None

    def forward(self, x):
        parts = [branch(x) for branch in [*self.conv1, self.conv2, self.identity] if branch is not None]
        return self.relu(self.se(sum(parts)))

    def fuse_forward(self, x):
        return self.relu(self.se(self.conv(x)))


class MobileOne(nn.Module):
    def __init__(self, units, num_features, num_classes):
        super().__init__()
        for stage in range(5):
            blocks = [Residual(unit.block) for unit in units if unit.stage == stage]
            setattr(self, f"p{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(num_features, num_classes))

    def forward(self, x):
        for stage in (self.p1, self.p2, self.p3, self.p4, self.p5, self.fc):
            x = stage(x)
        return x

    def fuse(self):
        raise AttributeError("identity")  # as the port's does on a model that is fused already


@contextmanager
def port_importable() -> Iterator[None]:
    nets, module = types.ModuleType("nets"), types.ModuleType("nets.nn")
    for cls in (SE, Conv, Residual, MobileOne):
        cls.__module__ = "nets.nn"
        setattr(module, cls.__name__, cls)
    sys.modules |= {"nets": nets, "nets.nn": module}
    try:
        yield
    finally:
        for name in ("nets", "nets.nn"):
            del sys.modules[name]


@pytest.fixture
def port_model(model, tmp_path):
    """The stand-in's network with the weights of `model`, taken over by names of its own."""
    from mobileone.variants import network_units

    port = MobileOne(list(network_units(model.variant)), 32, 5).eval()
    places = {"stem": "p1.0"} | {f"stages.{s}": f"p{s + 2}" for s in range(4)}
    parts = {
        "conv_kxk": "conv1",
        "conv_scale": "conv2",
        ".bn.": ".norm.",
        "attn.fc1": "se.se.1",
        "attn.fc2": "se.se.3",
        "head.fc": "fc.2",
    }
    state = {}
    for name, value in model.state_dict().items():
        new = name
        for old, theirs in (places | parts).items():
            new = new.replace(old, theirs)
        state[new] = value
    port.load_state_dict(state)
    return port


def save_as_port(content, path, **options):
    with port_importable():
        torch.save(content, path, **options)
    assert "nets.nn" not in sys.modules


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")  # of the stand-in, in the old container
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_module_is_read_without_its_code(tmp_path, model, port_model, same_state, legacy):
    path = tmp_path / "last.pt"
    save_as_port({"model": port_model}, path, _use_new_zipfile_serialization=not legacy)
    card = describe(path)
    assert (card.format, card.form, card.num_classes) == ("reference", "train", 5)
    same_state(load_model(path), model)
    assert "nets.nn" not in sys.modules
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(load_model(path)(x), port_model(x), rtol=1e-4, atol=1e-4)


def test_a_bare_module_in_half_precision(tmp_path, port_model):
    save_as_port(port_model.half(), tmp_path / "half.pt")
    loaded = load_model(tmp_path / "half.pt", dtype=None)
    assert loaded.head.fc.weight.dtype == torch.float16
    assert torch.equal(loaded.stem.conv_scale.conv.weight, port_model.p1[0].conv2.conv.weight)


def test_a_fused_module_with_its_bound_method(tmp_path, model, fused, port_model):
    for unit, theirs in zip(
        [fused.stem, *(block for stage in fused.stages for block in stage)],
        [block for stage in ("p1", "p2", "p3", "p4", "p5") for block in getattr(port_model, stage)],
        strict=True,
    ):
        theirs.conv = unit.reparam_conv
        del theirs.identity, theirs.conv1, theirs.conv2
        theirs.forward = theirs.fuse_forward
        theirs.norm = torch.zeros(3)  # the port leaves a work tensor behind
    save_as_port({"model": port_model}, tmp_path / "fused.pt")
    assert b"getattr" in (tmp_path / "fused.pt").read_bytes()
    loaded = load_model(tmp_path / "fused.pt")
    assert loaded.form == "inference"
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded(x), fused(x))


@pytest.mark.parametrize("form", ["train", "inference"])
def test_what_we_write_runs_in_its_code(tmp_path, model, fused, same_state, form):
    ours = model if form == "train" else fused
    path = convert(save_model(ours, tmp_path / "m.safetensors"), tmp_path / "m.pt", to="reference")
    assert "nets.nn" not in sys.modules
    with port_importable():
        port = torch.load(path, weights_only=False)["model"]
    assert type(port) is MobileOne
    assert {type(block) for block in port.p4} == {Residual}
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(port.float()(x), ours(x), rtol=1e-5, atol=1e-5)
    if form == "inference":
        assert port.fuse() is port  # its test() fuses whatever it loads
    back = load_model(path)
    same_state(back, ours)
    assert back.class_names == ours.class_names


def test_what_the_port_cannot_hold(tmp_path, model):
    model.reset_classifier(0)
    path = save_model(model, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="needs a classifier"):
        convert(path, tmp_path / "m.pt", to="reference")
    assert not (tmp_path / "m.pt").exists()


def test_a_module_of_an_unknown_package_is_data_alone(tmp_path, port_model):
    class Unknown(nn.Module):
        pass

    Unknown.__module__, Unknown.__qualname__ = "somewhere.net", "Unknown"
    sys.modules["somewhere"] = types.ModuleType("somewhere")
    sys.modules["somewhere.net"] = types.ModuleType("somewhere.net")
    sys.modules["somewhere.net"].Unknown = Unknown
    try:
        torch.save({"model": Unknown()}, tmp_path / "u.pt")
    finally:
        del sys.modules["somewhere"], sys.modules["somewhere.net"]
    with pytest.raises(CheckpointError, match="no weights in it; its keys: model"):
        load_model(tmp_path / "u.pt")


def test_modules_that_contain_each_other_end(tmp_path):
    outer = nn.Sequential(nn.Sequential())
    outer[0].add_module("back", outer)
    torch.save({"model": outer}, tmp_path / "loop.pt")
    with pytest.raises(CheckpointError, match="no module with weights"):
        load_model(tmp_path / "loop.pt")
