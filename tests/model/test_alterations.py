"""What was done to a module by hand is found; tests/contract/test_changed_networks.py says what follows."""

import copy

import pytest
from torch import nn

from mobileone.model.alterations import (
    alteration,
    branch_alteration,
    conv_alteration,
    full_settings,
    has_hooks,
    own_method,
    scale_settings,
)
from mobileone.model.block import MobileOneBlock
from mobileone.model.sync_batch_norm import SyncBatchNorm2d
from mobileone.variants import BlockSpec

SPEC = BlockSpec(8, 8, 3, stride=1, groups=8, num_conv_branches=2)


class Renamed(nn.ReLU):
    def __init__(self, size=1):
        super().__init__()
        self.size = size

    def extra_repr(self):
        return "renamed"

    def other(self):
        return self.size


class Doubled(nn.ReLU):
    def forward(self, x):
        return 2 * super().forward(x)


class Called(nn.ReLU):
    def __call__(self, x):
        return x


def test_a_subclass_is_judged_by_the_methods_that_it_replaces():
    assert [own_method(each()) for each in (nn.ReLU, Renamed, Doubled, Called)] == [
        None,
        None,
        "forward",
        "__call__",
    ]
    assert alteration(Renamed(), nn.ReLU) is None
    assert alteration(Doubled(), nn.ReLU) == "is a Doubled with a forward of its own"
    patched = nn.ReLU()
    patched.forward = abs
    assert alteration(patched, nn.ReLU) == "has a forward of its own"
    assert alteration(nn.SiLU(), nn.ReLU) == "is a SiLU, not a ReLU"


def test_hooks_of_the_backward_pass_count_where_they_are_asked_for():
    hooked = nn.ReLU()
    handle = hooked.register_full_backward_hook(lambda *_: None)
    assert (has_hooks(hooked), has_hooks(hooked, backward=True)) == (False, True)
    handle.remove()
    assert alteration(hooked, nn.ReLU, backward=True) is None
    hooked.register_forward_pre_hook(lambda *_: None)
    assert alteration(hooked, nn.ReLU) == "has a hook"


def test_a_synchronised_batch_norm_is_a_batch_norm_and_a_parametrized_convolution_is_none():
    for synced in (SyncBatchNorm2d(4), nn.SyncBatchNorm(4)):
        assert alteration(synced, nn.BatchNorm2d) is None
    conv = nn.Conv2d(4, 4, 1)
    nn.utils.parametrizations.weight_norm(conv)
    assert alteration(conv, nn.Conv2d) == "is a ParametrizedConv2d, not a Conv2d"


@pytest.mark.parametrize(
    ("name", "value"), [("stride", (2, 2)), ("padding", "same"), ("padding_mode", "circular"), ("groups", 4)]
)
def test_a_convolution_of_other_settings_is_found(name, value):
    conv = copy.deepcopy(MobileOneBlock(SPEC).conv_branches[0].conv)
    assert conv_alteration(conv, full_settings(SPEC)) is None
    setattr(conv, name, value)
    assert conv_alteration(conv, full_settings(SPEC)).startswith(
        f"has {name}={value!r}, its unit's spec says"
    )


def test_the_part_of_a_unit_is_named():
    block = MobileOneBlock(SPEC)
    assert branch_alteration(block) is None
    assert conv_alteration(block.conv_scale.conv, scale_settings(SPEC)) is None
    block.act, block.attn = nn.SiLU(), nn.Dropout()  # which every form carries
    assert branch_alteration(block) is None
    block.identity = nn.GroupNorm(2, 8)
    assert branch_alteration(block) == "identity is a GroupNorm, not a BatchNorm2d"
    block.conv_scale.bn.register_forward_hook(lambda *_: None)
    assert branch_alteration(block) == "conv_scale.bn has a hook"
    block.conv_kxk[1] = nn.Sequential()
    assert branch_alteration(block) == "conv_kxk.1 is a Sequential, not a ConvBN"
