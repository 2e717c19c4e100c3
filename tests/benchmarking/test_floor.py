"""The floor of a network, from ceilings that are made up."""

import pytest

from mobileone.benchmarking.floor import NetworkShapes
from mobileone.model.create import create_model
from mobileone.profiling.conventions import total_macs
from mobileone.profiling.cost import network_cost
from mobileone.profiling.roofline import bound_of
from mobileone.variants import VARIANTS, Variant

from .conftest import CEILINGS


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize(("size", "batch", "stride"), [(224, 1, 32), (160, 3, 16)])
def test_the_floor_counts_the_macs_of_the_cost_model(variant, size, batch, stride):
    network = NetworkShapes(variant=variant, input_size=size, num_classes=10, output_stride=stride)
    cost = network_cost(variant, input_size=size, num_classes=10, batch_size=batch, output_stride=stride)
    assert total_macs(network.operators(batch_size=batch, precision="fp32")) == cost.macs
    floor = network.floor(CEILINGS.machine("fp32"), batch_size=batch, precision="fp32")
    assert floor.arithmetic_ms == pytest.approx(2 * cost.macs / 100.0 / 1e6)
    assert max(floor.arithmetic_ms, floor.memory_ms) <= floor.milliseconds
    assert floor.milliseconds <= floor.arithmetic_ms + floor.memory_ms


def test_the_bounds_of_the_stem_by_hand():
    network = NetworkShapes(
        variant=Variant("x", (1, 1, 1, 1), depths=(1, 1, 1, 1)), input_size=4, num_classes=0
    )
    stem = network.operators(batch_size=2, precision="int8")[0]
    assert [t.shape for t in stem.inputs] == [(2, 3, 4, 4), (1, 3, 3, 3), (1,)]
    assert [t.shape for t in stem.outputs] == [(2, 1, 2, 2)]
    bound = bound_of(stem, CEILINGS.machine("int8"))
    assert bound.arithmetic_ms == pytest.approx(2 * 27 * 8 / 400.0 / 1e6)
    assert bound.memory_ms == pytest.approx((96 + 27 + 1 + 8) / 50.0 / 1e6)


def test_parameters_in_the_floor_are_the_networks(tiny):
    network = NetworkShapes(variant=tiny, input_size=64, num_classes=10)
    parameters = sum(
        tensor.numel
        for op in network.operators(batch_size=1, precision="fp32")
        for tensor in op.inputs
        if tensor.is_parameter
    )
    model = create_model(tiny, num_classes=10, form="inference")
    assert parameters == sum(p.numel() for p in model.parameters())
