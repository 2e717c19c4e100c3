"""Which parameters are decayed, and that the schedule reaches no others."""

import pytest
import torch
from torch import nn

from mobileone.errors import ConfigError
from mobileone.model.create import create_model
from mobileone.training.method.optim import create_optimizer, set_schedule_


def test_every_parameter_is_in_one_group_and_only_kernels_are_decayed(tiny) -> None:  # type: ignore[no-untyped-def]
    model = create_model(tiny, num_classes=3)
    decay, no_decay = create_optimizer(model, lr=0.1, momentum=0.9, weight_decay=1e-4).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {names[id(p)] for p in decay["params"]}
    others = {names[id(p)] for p in no_decay["params"]}
    assert decayed | others == set(names.values())
    assert not decayed & others
    assert decayed == {n for n in names.values() if n.endswith("conv.weight") or n == "head.fc.weight"}
    assert (decay["weight_decay"], no_decay["weight_decay"]) == (1e-4, 0.0)


def test_the_schedule_writes_decay_into_the_decayed_group_alone() -> None:
    optimizer = create_optimizer(nn.Linear(2, 2), lr=0.1, momentum=0.9, weight_decay=1e-4)
    set_schedule_(optimizer, lr=0.05, weight_decay=5e-5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [5e-5, 0.0]


def test_a_step_without_gradient_shrinks_kernels_and_leaves_biases() -> None:
    layer = nn.Linear(2, 2)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    optimizer = create_optimizer(layer, lr=0.1, momentum=0.0, weight_decay=0.5)
    for p in layer.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), torch.full((2, 2), 0.95))
    torch.testing.assert_close(layer.bias.detach(), torch.ones(2))


def test_a_frozen_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="no trainable parameter"):
        create_optimizer(nn.Linear(2, 2).requires_grad_(False), lr=0.1, momentum=0.9, weight_decay=0.0)
