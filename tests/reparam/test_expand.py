import copy

import pytest
import torch
from torch import nn

from mobileone.errors import ReparameterizeError
from mobileone.model.block import InferenceBlock
from mobileone.model.create import create_model
from mobileone.reparam.expand import expand
from mobileone.reparam.fuse import reparameterize
from mobileone.reparam.verify import verify
from mobileone.variants import BlockSpec


@pytest.fixture
def fused(tiny):
    model = create_model(tiny, num_classes=5, form="inference").eval()
    for block in model.modules():
        if isinstance(block, InferenceBlock):
            nn.init.normal_(block.reparam_conv.bias, std=0.1)
    return model


def images(number=16):
    """Noise of a colour and contrast of its own in each image, so that logits differ."""
    contrast, colour = torch.rand(number, 1, 1, 1), torch.randn(number, 3, 1, 1)
    return torch.randn(number, 3, 64, 64) * contrast + colour


def test_there_and_back_is_the_same_function(tiny, fused):
    model = expand(fused, torch.randn(4, 3, 64, 64))
    assert list(model.state_dict()) == list(create_model(tiny, num_classes=5).state_dict())
    x = torch.randn(2, 3, 64, 64)
    verify(fused, model, x).require()
    verify(fused, reparameterize(model), x).require()


def test_training_starts_from_nearly_the_same_function(fused):
    """The statistics are the calibration batch's own, so training mode on it changes little."""
    x = images()
    model = expand(fused, x)
    wanted = fused(x)
    spread = (wanted - wanted.mean(0)).abs().max()
    assert (model.train()(x) - wanted).abs().max() < 0.02 * spread
    # A twin that can fail: statistics of another world give another function.
    elsewhere = expand(fused, 3 * images() + 5).train()(x)
    assert (elsewhere - wanted).abs().max() > 0.2 * spread


def test_branches_part_when_trained(fused):
    model = expand(fused, torch.randn(4, 3, 64, 64)).train()
    model(torch.randn(4, 3, 64, 64)).square().sum().backward()
    first, second = (branch.conv.weight.grad for branch in model.stages[1][1].conv_branches)
    assert first.abs().max() > 0
    assert not torch.allclose(first, second)


def test_same_seed_same_branches(fused):
    x = torch.randn(2, 3, 64, 64)
    one, two, other = (expand(fused, x, seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["stem.conv_kxk.0.conv.weight"], other["stages.1.0.conv_kxk.0.conv.weight"])
    assert not torch.equal(
        one["stages.1.0.conv_kxk.0.conv.weight"], other["stages.1.0.conv_kxk.0.conv.weight"]
    )


def test_refusals(tiny, fused):
    with pytest.raises(ReparameterizeError, match="in training mode"):
        expand(copy.deepcopy(fused).train())
    with pytest.raises(ReparameterizeError, match="no unit in inference form"):
        expand(create_model(tiny).eval())
    lone = InferenceBlock(BlockSpec(4, 4)).eval()
    with pytest.raises(ReparameterizeError, match="without x"):
        expand(lone)
    unused = nn.ModuleDict({"block": lone})
    unused.forward = lambda x: x
    with pytest.raises(ReparameterizeError, match="block: a forward pass of the model does not reach it"):
        expand(unused.eval(), torch.zeros(1, 4, 8, 8))


def test_what_is_frozen_stays_frozen(fused):
    fused.requires_grad_(False)
    fused.stages[1].requires_grad_()
    trained = {name for name, p in expand(fused).named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in expand(fused).named_parameters() if name.startswith("stages.1.")}


def test_a_batch_norm_in_training_mode_is_refused_and_left_as_it_is(fused, tiny):
    model = nn.Sequential(fused, nn.Unflatten(1, (-1, 1, 1)), nn.BatchNorm2d(fused.num_classes)).eval()
    model[2].train()
    with pytest.raises(ReparameterizeError, match=r"cannot expand 2 \(BatchNorm2d\) in training mode"):
        expand(model, torch.randn(4, 3, 64, 64))
    assert model[2].num_batches_tracked == 0
