"""Choosing between the branches and one convolution."""

import copy
import pickle

import pytest
import torch
from torch import nn

import mobileone
from mobileone.errors import ConfigError
from mobileone.model.block import MobileOneBlock
from mobileone.model.branch_mode import runs_online, set_branch_mode
from mobileone.reparam.fuse import reparameterize
from mobileone.variants import BlockSpec


def network(tiny, mode="auto"):
    return set_branch_mode(mobileone.create_model(tiny, num_classes=5), mode)


def test_a_mode_changes_no_state_and_may_change_at_any_step(tiny):
    torch.manual_seed(0)
    start, x = network(tiny).double(), torch.randn(8, 3, 32, 32, dtype=torch.float64)
    ends = []
    for modes in (["branches"] * 3, ["online"] * 3, ["branches", "online", "auto"]):
        model = copy.deepcopy(start)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        keys = list(model.state_dict())
        for mode in modes:
            optimizer.zero_grad()
            nn.functional.cross_entropy(set_branch_mode(model, mode)(x), torch.arange(8) % 5).backward()
            optimizer.step()
        assert list(model.state_dict()) == keys
        ends.append(model.state_dict())
    for name, wanted in ends[0].items():
        for other in ends[1:]:
            assert torch.allclose(other[name], wanted, rtol=1e-6, atol=1e-9), name


def test_copies_and_pickles_keep_the_mode_and_old_pickles_are_auto(tiny):
    model = network(tiny, "online")
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.stem.branch_mode == "online"
    del model.stem.__dict__["branch_mode"]
    assert pickle.loads(pickle.dumps(model)).stem.branch_mode == "auto"


def test_eval_is_branch_by_branch_and_fuses(tiny):
    model, x = network(tiny, "online").eval(), torch.randn(1, 3, 64, 64)
    wanted = set_branch_mode(copy.deepcopy(model), "branches")(x)
    assert torch.equal(model(x), wanted)
    mobileone.verify(model, reparameterize(model), x).require()


def test_what_is_no_plain_branch_is_refused_online_and_left_to_the_branches_by_auto():
    x = torch.randn(2, 8, 6, 6)

    def hooked(block):
        block.conv_scale.bn.register_forward_hook(lambda *_: None)

    def normed(block):
        block.identity = nn.GroupNorm(2, 8)

    def parametrized(block):
        nn.utils.parametrizations.weight_norm(block.conv_kxk[0].conv)

    def biased(block):
        block.conv_scale.conv.bias = nn.Parameter(torch.ones(8))

    reasons = {hooked: "a hook", normed: "a GroupNorm", parametrized: "Parametrized", biased: "has a bias"}
    for change, reason in reasons.items():
        block = MobileOneBlock(BlockSpec(8, 8, 3, groups=8, num_conv_branches=2))
        change(block)
        assert not runs_online(block, x)
        assert block(x).shape == x.shape
        with pytest.raises(ConfigError, match=f"cannot train a unit online: .*{reason}"):
            set_branch_mode(block, "online")(x)


def test_set_branch_mode_refuses_what_it_cannot_do(tiny):
    with pytest.raises(ConfigError, match="must be one of auto, branches, online, got 'fast'"):
        set_branch_mode(mobileone.create_model(tiny), "fast")
    with pytest.raises(ConfigError, match="without units in train form"):
        set_branch_mode(mobileone.create_model(tiny, form="inference"), "online")
