"""Where everything lies in the workspace of the C engine: what all threads share, then each thread's own."""

from __future__ import annotations

from dataclasses import dataclass

from mobileone.backends.c.network_steps import LINE, VECTOR, NetworkPlan, round_up, stem_groups
from mobileone.backends.fused_layers import FusedLayers

INT_BYTES, FLOAT_BYTES, DOUBLE_BYTES = 4, 4, 8
WIDE_BYTES = 2  # of a value in products of 16 bits
TILE_SLACK = 16  # pixels that a kernel may read behind the last
MOST_WIDE_WEIGHTS = 64  # of a group of input channels: four of each of two vectors' lanes
KEPT_BYTES = 64  # that say whose wide weights are kept
SINK_BYTES = 1024  # of a tile's outputs that do not lie behind one another
AMX_BYTES = 6 * 1024 + 4 * 48  # of six tiles of sums, and of what a block's sums begin at
MOST_LANES = 48  # of a block of the classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Offsets and sizes in bytes.

    Attributes:
        slots: where each buffer of maps starts.
        offsets: macros of the C file, by name.
        shared_bytes: of what all threads share.
        thread_bytes: of each thread's own.
        wide_weights: bytes of a thread's weights in 16 bits, of a few output channels at a time.
        more_in_wasm: bytes that they take more in WebAssembly, where those of a whole layer are kept.
    """

    slots: dict[str, int]
    offsets: dict[str, int]
    shared_bytes: int
    thread_bytes: int
    wide_weights: int
    more_in_wasm: int


def plan_workspace(plan: NetworkPlan, layers: FusedLayers, *, test_bytes: int) -> Workspace:
    """Lay out the workspace.

    Args:
        plan: steps and maps.
        layers: the network.
        test_bytes: of the self-test's image.
    """
    slots, at = {"stem": 0}, 0
    for slot, size in plan.slots.items():
        slots[slot] = at
        at += size
    channels = round_up(max(step.source.pixel for step in plan.steps), LINE)
    features = round_up(layers.convs[-1].out_channels, LINE)
    attentions = [conv.attention for conv in layers.convs if conv.attention is not None]
    hidden = max([round_up(len(each.reduce.bias), LINE) for each in attentions], default=0)
    offsets, shared = _laid_out(
        at,
        {
            "SUMS_AT": INT_BYTES * channels,
            "GATES_AT": FLOAT_BYTES * channels if hidden else 0,
            "AVERAGES_AT": DOUBLE_BYTES * channels if hidden else 0,
            "HIDDEN_AT": DOUBLE_BYTES * hidden,
            "FEATURES_AT": features,
            "CLASS_SUMS_AT": INT_BYTES * (round_up(layers.num_outputs, MOST_LANES) + MOST_LANES),
            "TEST_IMAGE_AT": test_bytes,
        },
    )
    wide = max(
        plan.wide_values,
        features + LINE,
        *(
            (s.source.height * s.source.width + TILE_SLACK) * s.source.pixel
            for s in plan.steps
            if s.kind == "PANELS"
        ),
        0,
    )
    groups = max(round_up(conv.weight[0].size, 4) // 4 for conv in layers.convs)
    wide_weights = round_up(KEPT_BYTES + WIDE_BYTES * MOST_WIDE_WEIGHTS * groups, LINE)
    kept = [4 * stem_groups(plan.stem) * round_up(plan.stem.out_channels, VECTOR)]
    for step in plan.steps:
        if step.pointwise is not None and step.rows:
            inputs, outputs = step.pointwise.in_channels, step.pointwise.out_channels
            kept.append(round_up(inputs, 4) * round_up(outputs, VECTOR))
    own, thread = _laid_out(
        LINE,  # of which the first bytes say which rows of the first convolution are kept
        {
            "STRIP_AT": plan.strip_bytes,
            "STEM_AT": plan.stem_bytes,
            "GATHER_AT": plan.gather_bytes,
            # Between the two lie the wide weights.
            "SCRATCH_AT": max(SINK_BYTES + WIDE_BYTES * wide, AMX_BYTES),
        },
    )
    return Workspace(
        slots=slots,
        offsets={**offsets, **own, "FEATURE_BYTES": features},
        shared_bytes=shared,
        thread_bytes=thread + wide_weights,
        wide_weights=wide_weights,
        more_in_wasm=max(0, round_up(KEPT_BYTES + WIDE_BYTES * max(kept), LINE) - wide_weights),
    )


def _laid_out(at: int, sizes: dict[str, int]) -> tuple[dict[str, int], int]:
    offsets = {}
    for name, size in sizes.items():
        offsets[name] = at
        at += round_up(size, LINE)
    return offsets, at
