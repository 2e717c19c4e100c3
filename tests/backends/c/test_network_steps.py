"""Networks become steps that the engine knows, or are refused by name."""

from dataclasses import replace
from itertools import pairwise

import pytest

from mobileone.backends.c.network_steps import plan_network, stem_groups
from mobileone.backends.quantized_network import Int8Encoding
from mobileone.errors import ExportError


def kinds(plan):
    return [step.kind for step in plan.steps]


def test_a_plain_network(make_network):
    plan = plan_network(make_network((48, 48, 128, 256), depths=(2, 2, 2, 1), size=224), (224, 224))
    assert kinds(plan) == ["STEM_UNIT", *["UNIT"] * 5, "DEPTHWISE", "PANELS", "SUM", "POOL", "CLASSIFY"]
    assert plan.stem_size == (112, 112)
    assert stem_groups(plan.stem) == 7
    assert (plan.last.height, plan.last.width, plan.last.border) == (7, 7, 0)


def test_attention_stands_behind_its_convolution(little):
    steps = plan_network(little, (67, 67)).steps
    gated = [step.attention.name for step in steps if step.kind == "GATE"]
    assert gated == [conv.name for conv in little.layers.convs if conv.attention is not None]
    for before, step in pairwise(steps):
        if step.kind == "GATE":
            assert before.kind == "AVERAGE"
            assert before.source == step.source == step.target


def test_all_threads_sum_maps(little):
    """Before an attention's gates and before the head, which are one thread's work."""
    steps = plan_network(little, (67, 67)).steps
    summed = [before for before, step in pairwise(steps) if step.kind in ("AVERAGE", "POOL")]
    assert [step.kind for step in summed] == ["SUM"] * (1 + len([s for s in steps if s.kind == "GATE"]))


def test_attention_in_the_first_unit_needs_the_first_map_whole(make_network):
    plan = plan_network(make_network((16, 16, 16, 16), se_blocks=(1, 0, 0, 0), size=96), (96, 96))
    assert kinds(plan)[:5] == ["STEM", "DEPTHWISE", "SUM", "AVERAGE", "GATE"]
    assert plan.stem_bytes == 0


def test_no_step_overwrites_what_it_reads(make_network, little):
    for network in (little, make_network((16, 32, 48, 96), depths=(2, 1, 2, 2), se_blocks=(2, 1, 2, 2))):
        for step in plan_network(network, (64, 64)).steps:
            if step.source != step.target:
                assert step.source.slot != step.target.slot, step


def test_every_map_fits_its_buffer(little):
    plan = plan_network(little, (67, 67))
    for step in plan.steps:
        for spec in (step.source, step.target):
            assert spec.slot == "stem" or spec.num_bytes <= plan.slots[spec.slot]


@pytest.mark.parametrize(
    ("index", "changes", "message"),
    [
        (0, {"groups": 3}, "no groups"),
        (0, {"dilation": (2, 2)}, "no dilation"),
        (1, {"stride": (3, 3)}, "stride 1 or 2"),
        (1, {"groups": 1}, "3×3"),
        (1, {"dilation": (2, 2), "padding": (2, 2)}, "output_stride=32"),
        (2, {"stride": (2, 2)}, "plain 1×1"),
        (2, {"padding": (1, 1)}, "plain 1×1"),
    ],
)
def test_layers_that_the_engine_does_not_know(little, with_conv, index, changes, message):
    network = with_conv(little, index, **changes)
    with pytest.raises(ExportError, match=message) as caught:
        plan_network(network, (67, 67))
    assert network.layers.convs[index].name in str(caught.value)


def test_zero_points_that_the_engine_does_not_read(little):
    name = little.layers.convs[1].name
    moved = replace(little, activations={**little.activations, name: Int8Encoding((1.0,), 3)})
    with pytest.raises(ExportError, match=f"{name}: .*got zero point 3"):
        plan_network(moved, (67, 67))


def test_half_a_unit(little):
    half = replace(little, layers=replace(little.layers, convs=little.layers.convs[:-1]))
    with pytest.raises(ExportError, match="pairs of depthwise and pointwise"):
        plan_network(half, (67, 67))
