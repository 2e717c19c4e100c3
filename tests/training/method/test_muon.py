"""Muon and AdamW as one: each on its parameters as torch has it, and nothing moves in a bad step."""

import copy

import pytest
import torch
from torch import nn

from mobileone.errors import ConfigError
from mobileone.training.method.muon import MuonAndAdamW
from mobileone.training.method.optim import state_tensors

pytestmark = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="Muon came with PyTorch 2.9")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 3))
    return layers.to(memory_format=torch.channels_last)


def optimizer_of(model: nn.Sequential) -> MuonAndAdamW:
    groups = [
        {"params": [model[0].weight], "is_matrix": True, "lr": 0.02, "weight_decay": 0.1},
        {
            "params": [model[0].bias, *model[2].parameters()],
            "is_matrix": False,
            "lr": 0.01,
            "weight_decay": 0.2,
        },
    ]
    return MuonAndAdamW(groups, momentum=0.9, beta2=0.99)


def backward(model: nn.Sequential, seed: int) -> None:
    images = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(seed))
    model.zero_grad()
    model(images).square().mean().backward()


def test_each_part_is_torchs_own() -> None:
    model, twin = network(), network()
    optimizer = optimizer_of(model)
    matrix = nn.Parameter(twin[0].weight.detach().flatten(1).clone())
    muon = torch.optim.Muon([matrix], lr=0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    rest = [twin[0].bias, *twin[2].parameters()]
    adamw = torch.optim.AdamW(rest, lr=0.01, weight_decay=0.2, betas=(0.9, 0.99), fused=True)
    for seed in range(3):
        backward(model, seed)
        optimizer.step()
        backward(twin, seed)
        matrix.grad = twin[0].weight.grad.flatten(1)
        muon.step()
        adamw.step()
        with torch.no_grad():
            twin[0].weight.copy_(matrix.view_as(twin[0].weight))
        for got, expected in zip(model.parameters(), twin.parameters(), strict=True):
            assert torch.equal(got, expected)


def test_the_rates_are_those_of_its_groups_at_each_step() -> None:
    model = network()
    optimizer = optimizer_of(model)
    before = copy.deepcopy(model.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    backward(model, 0)
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_bad_step_changes_nothing() -> None:
    model = network()
    optimizer = optimizer_of(model)
    backward(model, 0)
    optimizer.step()
    kept = [*model.parameters(), *state_tensors(optimizer)]
    before = [value.detach().clone() for value in kept]
    backward(model, 1)
    model[0].weight.grad.fill_(float("nan"))
    optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(1.0)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, kept, strict=True))
    optimizer.found_inf = torch.tensor(0.0)
    backward(model, 1)
    optimizer.step()
    assert not torch.equal(before[0], kept[0])


def test_its_state_goes_on_to_the_bit() -> None:
    model = network()
    optimizer = optimizer_of(model)
    backward(model, 0)
    optimizer.step()
    twin = copy.deepcopy(model)
    other = optimizer_of(twin)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, its in ((model, optimizer), (twin, other)):
        backward(one, 1)
        its.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(state_tensors(optimizer), state_tensors(other), strict=True))


def test_without_muon_in_torch_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ConfigError, match=r"muon needs PyTorch 2\.9 or later"):
        optimizer_of(network())
