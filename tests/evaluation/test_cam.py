"""Class activation maps: the exact decomposition of a logit."""

import pytest
import torch
from torch import nn

from mobileone.errors import ConfigError
from mobileone.evaluation.cam import class_activation_maps, logit_map
from mobileone.model.create import create_model
from mobileone.reparam.fuse import reparameterize


def test_a_maps_mean_and_the_bias_are_the_logit(tiny, randomize) -> None:  # type: ignore[no-untyped-def]
    model = randomize(create_model(tiny, num_classes=5)).double()
    nn.init.normal_(model.head.fc.bias)
    images = torch.randn(3, 3, 96, 64, dtype=torch.float64)
    for form in (model, reparameterize(model)):
        maps, logits = class_activation_maps(form, images)
        assert maps.shape == (3, 5, 3, 2)
        torch.testing.assert_close(maps.mean((2, 3)) + form.head.fc.bias, logits)
        torch.testing.assert_close(logits, form(images))


def test_evidence_lies_where_it_was_put(tiny) -> None:  # type: ignore[no-untyped-def]
    """A map without the place that speaks for the class has lost its logit's share."""
    model = create_model(tiny, num_classes=2, form="inference").eval()
    features = torch.zeros(1, model.num_features, 4, 4)
    features[0, 3, 1, 2] = 8.0
    model.forward_features = lambda x: features  # type: ignore[method-assign]
    with torch.no_grad():
        model.head.fc.weight.zero_()
        model.head.fc.weight[1, 3] = 2.0
    maps, logits = class_activation_maps(model, torch.zeros(1, 3, 8, 8))
    assert maps[0, 1].nonzero().tolist() == [[1, 2]]
    assert maps[0, 1, 1, 2].item() == 16.0
    assert (logits[0, 1] - model.head.fc.bias[1]).item() == pytest.approx(1.0)
    heat = logit_map(maps[0], 1, 16)
    assert (heat.min().item(), heat.max().item()) == (0.0, 1.0)
    peak = (heat == 1.0).nonzero().float().mean(0)
    assert peak.tolist() == pytest.approx([5.5, 9.5], abs=1)  # the middle of place (1, 2) of 4 × 4 over 16 px
    assert logit_map(maps[0], 0, 16).abs().max() == 0


def test_what_cannot_be_explained_is_refused(tiny) -> None:  # type: ignore[no-untyped-def]
    model = create_model(tiny, num_classes=2)
    with pytest.raises(ConfigError, match="training mode"):
        class_activation_maps(model.train(), torch.zeros(1, 3, 32, 32))
    with pytest.raises(ConfigError, match="no linear classifier"):
        class_activation_maps(create_model(tiny, num_classes=0).eval(), torch.zeros(1, 3, 32, 32))
