"""What a teacher said: parts of it, mixtures of it, and where features come from."""

import pytest
import torch
from torch import nn

from mobileone.errors import ConfigError
from mobileone.training.method.mix import mixed_logits, neighbours
from mobileone.training.method.taught import Taught, features_of, last_linear

TAUGHT = Taught(torch.randn(4, 3), torch.randn(4, 5))


def test_a_part_has_what_the_whole_has() -> None:
    part = TAUGHT.of(torch.tensor([3, 1]))
    assert part.features is not None
    assert TAUGHT.features is not None
    assert torch.equal(part.logits, TAUGHT.logits[[3, 1]])
    assert torch.equal(part.features, TAUGHT.features[[3, 1]])
    assert set(part.tensors()) == {"logits", "features"}
    alone = Taught(TAUGHT.logits)
    assert set(alone.of(slice(0, 2)).to(torch.device("cpu")).tensors()) == {"logits"}


def test_probabilities_and_features_mix_as_the_images_do() -> None:
    mixed = TAUGHT.mixed(share=0.75, temperature=2.0, task="singlelabel")
    assert TAUGHT.features is not None
    assert mixed.features is not None
    torch.testing.assert_close(mixed.logits, mixed_logits(TAUGHT.logits, share=0.75, temperature=2.0))
    features = 0.75 * TAUGHT.features + 0.25 * neighbours(TAUGHT.features)
    torch.testing.assert_close(mixed.features, features)
    assert Taught(TAUGHT.logits).mixed(share=0.5, temperature=1.0, task="singlelabel").features is None


def test_features_are_collected_with_their_gradient_and_nothing_stays_behind() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    images = torch.randn(5, 2)
    with pytest.raises(RuntimeError), features_of(model):
        model(torch.zeros(1, 7))
    with features_of(model) as features:
        model(images)
        model(images[:1])
    model(images)
    assert [tuple(each.shape) for each in features] == [(5, 4), (1, 4)]
    torch.testing.assert_close(features[0], model[:2](images))
    features[0].sum().backward()
    assert model[0].weight.grad is not None
    assert not last_linear(model)._forward_pre_hooks


def test_a_network_without_a_linear_layer_has_none() -> None:
    with pytest.raises(ConfigError, match="a Flatten has no linear layer"):
        last_linear(nn.Flatten())
