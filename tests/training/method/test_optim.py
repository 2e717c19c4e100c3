"""Which parameters are decayed, and that the schedule reaches no others."""

import pytest
import torch
from torch import nn

from mobileone.errors import ConfigError
from mobileone.model.create import create_model
from mobileone.training.config.optimization import Optim
from mobileone.training.method.optim import create_optimizer, set_schedule_, state_tensors


def test_every_parameter_is_in_one_group_and_only_kernels_are_decayed(tiny) -> None:  # type: ignore[no-untyped-def]
    model = create_model(tiny, num_classes=3)
    decay, no_decay = create_optimizer(model, Optim(momentum=0.9, weight_decay=1e-4), lr=0.1).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {names[id(p)] for p in decay["params"]}
    others = {names[id(p)] for p in no_decay["params"]}
    assert decayed | others == set(names.values())
    assert not decayed & others
    assert decayed == {n for n in names.values() if n.endswith("conv.weight") or n == "head.fc.weight"}
    assert (decay["weight_decay"], no_decay["weight_decay"]) == (1e-4, 0.0)


def test_the_schedule_writes_decay_into_the_decayed_group_alone() -> None:
    optimizer = create_optimizer(nn.Linear(2, 2), Optim(momentum=0.9, weight_decay=1e-4), lr=0.1)
    set_schedule_(optimizer, lr=0.05, weight_decay=5e-5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [5e-5, 0.0]


def test_a_step_without_gradient_shrinks_kernels_and_leaves_biases() -> None:
    layer = nn.Linear(2, 2)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    optimizer = create_optimizer(layer, Optim(momentum=0.0, weight_decay=0.5), lr=0.1)
    for p in layer.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), torch.full((2, 2), 0.95))
    torch.testing.assert_close(layer.bias.detach(), torch.ones(2))


def test_a_frozen_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="no trainable parameter"):
        create_optimizer(nn.Linear(2, 2).requires_grad_(False), Optim(momentum=0.9, weight_decay=0.0), lr=0.1)


def test_a_layer_decay_gives_every_block_a_rate_of_its_own(tiny) -> None:  # type: ignore[no-untyped-def]
    model = create_model(tiny, num_classes=3)
    optimizer = create_optimizer(model, Optim(layer_decay=0.5, weight_decay=1e-4), lr=0.1)
    set_schedule_(optimizer, lr=0.8, weight_decay=1e-5)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    blocks = ["stem", "stages.0.0", "stages.1.0", "stages.2.0", "stages.3.0", "head"]
    for kind in ("decay", "no_decay"):
        assert [rates[f"{kind} {block}"] for block in blocks] == pytest.approx(
            [0.8 / 32, 0.8 / 16, 0.8 / 8, 0.8 / 4, 0.8 / 2, 0.8]
        )
    decays = {group["name"]: group["weight_decay"] for group in optimizer.param_groups}
    assert {decay for name, decay in decays.items() if name.startswith("decay ")} == {1e-5}
    assert {decay for name, decay in decays.items() if name.startswith("no_decay ")} == {0.0}
    taken = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(taken) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("layer_decay", [1.0, 0.7])
def test_muon_has_the_pointwise_kernels_and_adamw_the_rest(tiny, layer_decay: float) -> None:  # type: ignore[no-untyped-def]
    model = create_model(tiny, num_classes=3)
    optimizer = create_optimizer(model, Optim(name="muon", base_lr=0.01, layer_decay=layer_decay), lr=0.01)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        kind: [names[id(p)] for g in optimizer.param_groups if g["is_matrix"] is kind for p in g["params"]]
        for kind in (True, False)
    }
    assert sorted([*found[True], *found[False]]) == sorted(names.values())
    # The stem's scale branch is one too; depthwise 1x1 kernels are a number a channel.
    assert all(dict(model.named_parameters())[name].shape[1] > 1 for name in found[True])
    assert any("stages.0.1" in name for name in found[True])
    assert not any("stages.0.0" in name or "head" in name for name in found[True])


def test_adamw_is_torchs_with_decay_apart_from_the_gradient() -> None:
    layer = nn.Linear(2, 2)
    optimizer = create_optimizer(layer, Optim(name="adamw", base_lr=0.01, weight_decay=0.5), lr=0.01)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    before = layer.weight.detach().clone()
    for p in layer.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before * (1 - 0.01 * 0.5))


def test_what_an_optimizer_keeps_is_counted() -> None:
    for name, values in (("sgd", 1), ("adamw", 2)):
        layer = nn.Linear(2, 2)
        optimizer = create_optimizer(layer, Optim(name=name, base_lr=0.01), lr=0.01)
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        assert sum(t.numel() for t in state_tensors(optimizer) if t.ndim) == values * 6
