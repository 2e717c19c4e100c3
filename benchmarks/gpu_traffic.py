"""What a training step moves through a GPU's memory, and how long that takes: arithmetic, not measured.

Every pass over activations is a row of the tables below: which tensors it reads and writes, in whole. The
Triton kernels' rows are checked against their own loads and stores (tests/functional/kernels/
test_gpu_traffic.py counts addresses in Triton's interpreter); those of cuDNN's and cuBLAS's passes, and of
torch's BatchNorm and ReLU, are what they cannot do without. Small tensors (a channel's sums, kernels) are
left out. A step's time is its bytes by 80 % of the card's bandwidth, for such passes do not reach more, and
never less than what its products take at half of the card's peak.

    python -m benchmarks.gpu_traffic  # S0 and S1, batch 256, 224 px, bf16, on three cards
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

from mobileone.variants import BlockSpec, get_variant, network_units

CARDS = {  # bytes and bf16 FLOP a second, from NVIDIA's data sheets
    "H200": (4.8e12, 989e12),
    "H100 SXM": (3.35e12, 989e12),
    "A100 80 GB": (2.04e12, 312e12),
    "RTX 3090": (0.936e12, 71e12),
}
BANDWIDTH_SHARE, COMPUTE_SHARE = 0.8, 0.5

# Times that x (a unit's input) and y (its output), or something of that size, are read or written.
Pass = tuple[float, float]
TRITON_DEPTHWISE: dict[str, Pass] = {
    "moments": (1, 0),
    "convolution": (1, 1),
    "kernel_gradient": (1, 2),  # the gradient, and the output for its ReLU
    "input_gradient": (2, 2),
}
TRITON_POINTWISE: dict[str, Pass] = {
    "gram": (1, 0),
    "product": (1, 1),
    "bias_relu": (0, 2),
    "behind_relu": (0, 3),
    "kernel_gradient": (1, 1),
    "input_gradient": (1, 1),
    "moments_gradient": (3, 0),
}
PLAIN: dict[str, Pass] = {
    "product": (1, 1),
    "batch_norm": (0, 3),  # statistics, then read and write
    "relu": (0, 2),
    "relu_backward": (0, 3),
    "batch_norm_backward": (0, 5),  # two sums of gradient and input, then read both and write
    "kernel_gradient": (1, 1),
    "input_gradient": (1, 1),
}
BRANCH: dict[str, Pass] = {  # a further branch: convolved, normalised, added, and the same backward
    "product": (1, 1),
    "batch_norm": (0, 3),
    "add": (0, 3),
    "batch_norm_backward": (0, 5),
    "kernel_gradient": (1, 1),
    "input_gradient": (2, 1),  # and added to the other branches'
}
IDENTITY: dict[str, Pass] = {
    k: v for k, v in BRANCH.items() if k in ("batch_norm", "add", "batch_norm_backward")
}


class Moved(NamedTuple):
    """Of one unit: bytes, and FLOP of its products."""

    num_bytes: float
    flop: float


def unit_traffic(spec: BlockSpec, x: int, y: int, form: str) -> Moved:
    """A unit's step.

    Args:
        spec: of the unit.
        x: elements of its input.
        y: of its output.
        form: "plain", "branches" or "online".
    """
    depthwise = spec.groups > 1
    width = spec.kernel[0] * spec.kernel[1] * spec.in_channels // spec.groups
    product = 0.0 if depthwise else 2.0 * y * width
    rows = [PLAIN]
    flop = 3 * product
    if form == "branches":
        full = spec.num_conv_branches - 1 + (spec.use_scale and width > spec.in_channels // spec.groups)
        rows += [BRANCH] * int(full) + [IDENTITY] * spec.use_identity
        flop *= spec.num_conv_branches
    elif form == "online" and spec.num_conv_branches > 1:
        rows = [TRITON_DEPTHWISE if depthwise else TRITON_POINTWISE]
        pixels = x // spec.in_channels
        flop += 0 if depthwise else 4.0 * pixels * spec.in_channels**2
    x_times, y_times = (sum(p[i] for row in rows for p in row.values()) for i in (0, 1))
    return Moved(2 * (x_times * x + y_times * y), flop)


def step_traffic(variant: str, form: str, *, batch: int, size: int) -> list[Moved]:
    """Of every unit of a network, in bf16."""
    found = []
    for unit in network_units(get_variant(variant)):
        spec = unit.block
        side = size // unit.reduction
        y = batch * spec.out_channels * side**2
        x = batch * spec.in_channels * (side * spec.strides[0]) ** 2
        found.append(unit_traffic(spec, x, y, form))
    return found


def milliseconds(units: list[Moved], card: str) -> float:
    """Unit by unit the longer of what its bytes and its products take."""
    bandwidth, flops = CARDS[card]
    return 1e3 * sum(
        max(unit.num_bytes / (BANDWIDTH_SHARE * bandwidth), unit.flop / (COMPUTE_SHARE * flops))
        for unit in units
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    arguments = parser.parse_args()
    print(f"arithmetic, not measured: ms a step, bf16, batch {arguments.batch}, {arguments.size} px")
    print("| | form | GB | " + " | ".join(CARDS) + " |")
    print("|---|---|---|" + "---|" * len(CARDS))
    for variant in ("mobileone_s0", "mobileone_s1"):
        forms = ("branches", "plain", "online")
        for form in (
            forms if get_variant(variant).num_conv_branches > 1 else forms[:2]
        ):  # k = 1 is not modelled
            units = step_traffic(variant, form, batch=arguments.batch, size=arguments.size)
            times = " | ".join(f"{milliseconds(units, card):.0f}" for card in CARDS)
            print(
                f"| {variant[-2:].upper()} | {form} | {sum(u.num_bytes for u in units) / 1e9:.0f} | {times} |"
            )


if __name__ == "__main__":
    main()
