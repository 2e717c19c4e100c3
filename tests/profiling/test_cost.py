"""The static cost: published counts, and equality with what a traced network really does."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mobileone.errors import ConfigError
from mobileone.input_spec import sides
from mobileone.model.create import create_model
from mobileone.profiling.conventions import count, has_memory_rule, total_macs, traffic
from mobileone.profiling.cost import VIEW_BYTES_READ, VIEW_BYTES_WRITTEN, Cost, network_cost
from mobileone.profiling.trace import trace
from mobileone.variants import VARIANTS

# Parameters in train form and in inference form, MACs in inference form at 224 px: by Apple's definition.
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


def test_bytes_of_the_reference_report():
    cost = network_cost(VARIANTS["mobileone_s0"])
    assert cost.bytes_read == 19_768_576 + 15_153_152 + 4_104_096 + 12
    assert cost.bytes_written == 15_153_152 + 15_153_152 + 4_000 + 8
    assert cost.parameter_bytes == 4_180_096 + 4_100_000
    assert cost.activations == 15_153_152 // 4 + 1000


def traced_cost(variant, *, size, form, batch_size=1, **options) -> Cost:
    """The same totals, summed over the operators that the network runs on tensors without data."""
    with torch.device("meta"):
        model = create_model(variant, form=form, **options).eval()
    x = torch.zeros(batch_size, model.in_chans, size, size, device="meta")
    operators = trace(model, (x,))
    listed = [traffic(op) for op in operators if has_memory_rule(op)]
    view = bool(model.num_classes)
    return Cost(
        params=sum(p.numel() for p in model.parameters()),
        macs=total_macs(operators),
        flops=sum(count(op, "caffe2") or 0 for op in operators),
        activations=sum(op.outputs[0].numel for op in operators if op.kind in ("Conv", "FC")),
        bytes_read=sum(t.read for t in listed) + VIEW_BYTES_READ * view,
        bytes_written=sum(t.written for t in listed) + VIEW_BYTES_WRITTEN * view,
        parameter_bytes=sum(t.parameters for t in listed),
    )


@pytest.mark.parametrize("form", ["train", "inference"])
@pytest.mark.parametrize(("name", "size"), [("mobileone_s0", 225), ("mobileone_s4", 96)])
def test_formulas_equal_tracing(name, size, form):
    cost = network_cost(VARIANTS[name], input_size=size, form=form)
    assert cost == traced_cost(VARIANTS[name], size=size, form=form)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["train", "inference"])
@pytest.mark.parametrize("name", VARIANTS)
def test_formulas_equal_tracing_at_every_size(name, form):
    for size in range(96, 385, 16):
        cost = network_cost(VARIANTS[name], input_size=size, form=form)
        assert cost == traced_cost(VARIANTS[name], size=size, form=form), size


@pytest.mark.parametrize("form", ["train", "inference"])
@pytest.mark.parametrize("output_stride", [8, 32])
@pytest.mark.parametrize("num_classes", [0, 10])
def test_formulas_equal_tracing_for_every_option(tiny, form, output_stride, num_classes):
    options = {"num_classes": num_classes, "in_chans": 5, "output_stride": output_stride}
    wanted = traced_cost(tiny, size=33, form=form, batch_size=3, **options)
    assert network_cost(tiny, input_size=33, form=form, batch_size=3, **options) == wanted


@pytest.mark.parametrize("form", ["train", "inference"])
def test_macs_equal_torchs_counter(tiny, form):
    model = create_model(tiny, num_classes=10, form=form).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(2, 3, 33, 33))
    cost = network_cost(tiny, input_size=33, form=form, batch_size=2, num_classes=10)
    assert 2 * cost.macs == counter.get_total_flops()


def test_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match="input_size"):
        network_cost(VARIANTS["mobileone_s0"], input_size=0)
    with pytest.raises(ConfigError, match="num_classes"):
        network_cost(VARIANTS["mobileone_s0"], num_classes=-1)
    with pytest.raises(ConfigError, match="form"):
        network_cost(VARIANTS["mobileone_s0"], form="fused")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [96, (96, 64), (64, 97)])
def test_rectangles_cost_what_pytorch_counts(size):
    model = create_model("mobileone_s0", num_classes=10, form="inference").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, *sides(size)))
    cost = network_cost(VARIANTS["mobileone_s0"], input_size=size, num_classes=10)
    assert counter.get_total_flops() == 2 * cost.macs
