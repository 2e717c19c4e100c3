import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mobileone.errors import ConfigError
from mobileone.model.create import create_model
from mobileone.profile.cost import network_cost
from mobileone.variants import VARIANTS

# Parameters in train form and fused, MACs fused at 224 px: measured on Apple's definition.
COUNTS = {
    "mobileone_s0": (5_293_272, 2_078_504, 275_110_400),
    "mobileone_s1": (4_825_192, 4_764_840, 825_057_024),
    "mobileone_s2": (7_884_648, 7_808_168, 1_298_426_496),
    "mobileone_s3": (10_170_600, 10_078_312, 1_895_790_592),
    "mobileone_s4": (14_951_248, 14_838_352, 2_979_269_760),
}
# GFLOP by Caffe2's rules, S4 with SE's multiplication.
GFLOP = {"s0": 0.550222, "s1": 1.650115, "s2": 2.596854, "s3": 3.791582, "s4": 5.960441}


@pytest.mark.parametrize("name", COUNTS)
def test_published_counts(name):
    train, fused, macs = COUNTS[name]
    cost = network_cost(VARIANTS[name])
    assert (cost.params, cost.macs) == (fused, macs)
    assert round(cost.flops / 1e9, 6) == GFLOP[name[-2:]]
    assert network_cost(VARIANTS[name], form="train").params == train


@pytest.mark.parametrize("form", ["train", "inference"])
@pytest.mark.parametrize("size", [33, 96])
def test_formulas_equal_torchs_counter(tiny, form, size):
    model = create_model(tiny, num_classes=10, in_chans=5, form=form).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(2, 5, size, size))
    cost = network_cost(tiny, input_size=size, form=form, batch_size=2, num_classes=10, in_chans=5)
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert 2 * cost.macs == counter.get_total_flops()


def test_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match="input_size"):
        network_cost(VARIANTS["mobileone_s0"], input_size=0)
    with pytest.raises(ConfigError, match="form"):
        network_cost(VARIANTS["mobileone_s0"], form="fused")  # type: ignore[arg-type]
