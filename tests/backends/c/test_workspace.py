"""The workspace's parts do not overlap and start where vectors do."""

from mobileone.backends.c.network_steps import plan_network
from mobileone.backends.c.workspace import plan_workspace


def test_parts_follow_one_another(little):
    plan = plan_network(little, (67, 67))
    space = plan_workspace(plan, little.layers, test_bytes=1000)
    shared = [space.offsets[f"{name}_AT"] for name in ("SUMS", "GATES", "HIDDEN", "FEATURES", "CLASS_SUMS")]
    assert shared == sorted(shared)
    assert shared[0] >= sum(plan.slots.values())
    assert space.offsets["TEST_IMAGE_AT"] + 1000 <= space.shared_bytes
    strip, stem, scratch = (space.offsets[f"{name}_AT"] for name in ("STRIP", "STEM", "SCRATCH"))
    assert strip >= 64
    assert strip + plan.strip_bytes <= stem
    assert stem + plan.stem_bytes <= scratch
    assert scratch + 2 * plan.wide_values < space.thread_bytes
    assert all(value % 64 == 0 for value in (*space.offsets.values(), space.shared_bytes, space.thread_bytes))


def test_s0_needs_less_than_half_a_megabyte(make_network):
    network = make_network((48, 128, 256, 1024), depths=(2, 8, 10, 1), size=224, num_classes=1000)
    space = plan_workspace(plan_network(network, (224, 224)), network.layers, test_bytes=4000)
    assert space.shared_bytes + space.thread_bytes < 500_000
