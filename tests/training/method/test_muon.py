"""Muon and AdamW as one: each on its parameters as torch has it, and nothing moves in a bad step."""

import copy

import pytest
import torch
from torch import nn

from mobileone.training.method.muon import Muon, MuonAndAdamW, orthogonalized
from mobileone.training.method.optim import state_tensors


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


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch's Muon came with 2.9")
def test_adamw_is_torchs_own_and_muon_is_torchs_up_to_its_bfloat16() -> None:
    model, twin = network(), network()
    optimizer = optimizer_of(model)
    matrix = nn.Parameter(twin[0].weight.detach().flatten(1).clone())
    muon = torch.optim.Muon([matrix], lr=0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    rest = [twin[0].bias, *twin[2].parameters()]
    adamw = torch.optim.AdamW(rest, lr=0.01, weight_decay=0.2, betas=(0.9, 0.99), fused=True)
    for seed in range(3):
        before = model[0].weight.detach().flatten(1).clone()
        backward(model, seed)
        optimizer.step()
        backward(twin, seed)
        matrix.grad = twin[0].weight.grad.flatten(1)
        muon.step()
        adamw.step()
        step = model[0].weight.detach().flatten(1) - before
        assert (step - (matrix.detach() - before)).norm() < 0.02 * step.norm()
        assert all(torch.equal(a, b) for a, b in zip([*model.parameters()][1:], rest, strict=True))
        with torch.no_grad():
            matrix.copy_(model[0].weight.flatten(1))
            twin[0].weight.copy_(model[0].weight)


@pytest.mark.parametrize("shape", [(3, 12, 12), (2, 24, 7), (1, 7, 24)])
def test_singular_vectors_stay_and_values_come_near_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    in_their_axes = left.mT @ orthogonalized(matrices) @ right.mT
    found = in_their_axes.diagonal(dim1=1, dim2=2)
    assert torch.allclose(in_their_axes, torch.diag_embed(found), atol=1e-9)
    large = values > 0.05 * values[:, :1]
    assert (found[large] > 0.6).all()
    assert (found < 1.25).all()


def test_kernels_of_one_shape_move_as_if_each_were_alone() -> None:
    shapes = [(6, 4, 1, 1), (3, 4, 1, 1), (6, 4, 1, 1)]
    start = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    together, alone = ([nn.Parameter(value.clone()) for value in start] for _ in range(2))
    for kernel, other in zip(together, alone, strict=True):
        kernel.grad = torch.randn_like(kernel)
        other.grad = kernel.grad.clone()
    Muon([{"params": together, "lr": 0.1, "weight_decay": 0.5}], momentum=0.9).step()
    for kernel in alone:
        Muon([{"params": [kernel], "lr": 0.1, "weight_decay": 0.5}], momentum=0.9).step()
    for kernel, other, was in zip(together, alone, start, strict=True):
        assert torch.allclose(kernel, other, rtol=1e-12)
        assert not torch.equal(kernel, was)


def test_a_scale_of_gradients_is_divided_out() -> None:
    start = torch.randn(5, 4, 1, 1)
    plain, scaled = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    for kernel, scale in ((plain, 1.0), (scaled, 1024.0)):
        muon = Muon([{"params": [kernel], "lr": 0.1, "weight_decay": 0.0}], momentum=0.9)
        for factor in (1.0, 2.0):  # a scaler's scale changes from step to step
            kernel.grad = torch.arange(20.0).view(5, 4, 1, 1).sin() * scale * factor
            muon.grad_scale = torch.tensor(scale * factor)
            muon.step()
    assert torch.equal(plain, scaled)


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
