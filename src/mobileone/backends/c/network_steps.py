"""What the C file does for one image, as data: steps, the maps between them, and their memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mobileone.backends.fused_layers import AttentionLayer, ConvLayer
from mobileone.backends.quantized_network import INT8_MIN, QuantizedNetwork
from mobileone.errors import ExportError
from mobileone.variants import Pair

StepKind = Literal[
    "STEM",
    "STEM_UNIT",
    "UNIT",
    "DEPTHWISE",
    "POINTWISE",
    "PANELS",
    "SUM",
    "AVERAGE",
    "GATE",
    "FEATURES",
    "POOL",
    "CLASSIFY",
]
LINE = 64  # bytes of a cache line, and of the widest vector
VECTOR = 16  # channels that every map is padded to, and lanes of the widest vector
DEPTHWISE_BLOCK = 64  # channels of the widest vector of bytes
STRIP_BYTES = (
    16_384  # of a depthwise layer's output that wait for the pointwise layer: half of a small L1 cache
)
LATE_PIXELS = 64  # maps up to that size are cut by channels, not by rows
MOST_TILE_PIXELS = 14


def round_up(value: int, multiple: int) -> int:
    """The next multiple.

    >>> round_up(48, 64), round_up(64, 64)
    (64, 64)
    """
    return -(-value // multiple) * multiple


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSpec:
    """A feature map in the workspace.

    Attributes:
        slot: which buffer holds it; "stem" is in each thread's own memory.
        height: rows.
        width: pixels a row.
        pixel: bytes of a pixel.
        border: zeros on every side.
    """

    slot: Literal["a", "b", "dense", "stem"]
    height: int
    width: int
    pixel: int
    border: int

    @property
    def num_bytes(self) -> int:
        """With one row more, which kernels may touch, and a vector."""
        height, width = self.height + 2 * self.border, self.width + 2 * self.border
        return (height + 1) * width * self.pixel + 2 * LINE


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkStep:
    """What all threads do before any goes on; the kinds are those of templates/engine.c.

    Attributes:
        kind: what is done.
        source: the map that is read.
        target: the map that is written; the one that is read where it changes in place.
        depthwise: the convolution, where there is one.
        pointwise: the convolution, where there is one.
        attention: the convolution that it stands behind, where there is one.
        given: the convolution whose map is an output, where it is one.
        rows: at a time, at most; 0 for all.
        clears: whether it writes the border; else that is there from the step before last.
    """

    kind: StepKind
    source: MapSpec
    target: MapSpec
    depthwise: ConvLayer | None = None
    pointwise: ConvLayer | None = None
    attention: ConvLayer | None = None
    given: ConvLayer | None = None
    rows: int = 0
    clears: bool = False


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class NetworkPlan:
    """All steps, and the memory that they need.

    Attributes:
        stem: the first convolution.
        image: (height, width) of the input.
        stem_size: (height, width) behind the first convolution.
        steps: in order of execution.
        slots: bytes of each shared buffer.
        strip_bytes: of a thread's rows between two convolutions.
        wide_values: the most values that a kernel of 16-bit products widens at a time.
        stem_bytes: of a thread's rows of the first convolution.
        gather_bytes: of what a row of the first convolution reads.
    """

    stem: ConvLayer
    image: Pair
    stem_size: Pair
    steps: tuple[NetworkStep, ...]
    slots: dict[str, int]
    strip_bytes: int
    wide_values: int
    stem_bytes: int
    gather_bytes: int

    @property
    def last(self) -> MapSpec:
        """The map that the head reads."""
        return next(step.source for step in self.steps if step.kind == "POOL")


def stem_groups(stem: ConvLayer) -> int:
    """Groups of four values that an output of the first convolution reads."""
    return round_up(int(np.prod(stem.weight.shape[1:])), 4) // 4


def gathers_pairs(stem: ConvLayer) -> bool:
    """Whether two neighbours behind the first convolution read 16 bytes of a row, and at most 32 each."""
    channels, kernel_width = stem.weight.shape[1], stem.weight.shape[3]
    return stem_groups(stem) <= 8 and (stem.stride[1] + kernel_width) * channels <= 16


def stem_pitch(stem: ConvLayer) -> int:
    """Bytes from what one output of the first convolution reads to the next one's."""
    return 32 if gathers_pairs(stem) else 4 * stem_groups(stem)


def plan_network(quantized: QuantizedNetwork, size: Pair) -> NetworkPlan:
    """Steps and memory for images of that (height, width).

    Raises:
        ExportError: if a layer is none that the C kernels know.
    """
    stem, *others = quantized.layers.convs
    _check_stem(stem)
    if len(others) % 2:
        raise ExportError(
            "the C engine knows a first convolution and pairs of depthwise and pointwise ones; "
            f"got {len(others)} behind the first"
        )
    units = list(zip(others[::2], others[1::2], strict=True))
    for depthwise, pointwise in units:
        _check_unit(depthwise, pointwise)
    for conv in quantized.layers.convs:
        _check_zero_points(quantized, conv)
    builder = _Builder(size, stem, quantized.layers.features)
    for index, (depthwise, pointwise) in enumerate(units):
        builder.unit(depthwise, pointwise, is_last=index == len(units) - 1)
    return builder.done(has_classifier=quantized.layers.classifier is not None)


class _Builder:
    def __init__(self, image: Pair, stem: ConvLayer, features: Collection[str]) -> None:
        self.image, self.stem, self.features = image, stem, features
        self.stem_size = stem.output_size(image)
        self.steps: list[NetworkStep] = []
        pixel = round_up(stem.out_channels, VECTOR)
        height, width = self.stem_size
        self.at = MapSpec(slot="stem", height=height, width=width, pixel=pixel, border=1)
        self.strip = self.stem_bytes = 0
        self.gather = self.wide = (width + MOST_TILE_PIXELS) * stem_pitch(stem) + 2 * LINE
        self.cleared: dict[str, MapSpec] = {}

    def unit(self, depthwise: ConvLayer, pointwise: ConvLayer, *, is_last: bool) -> None:
        size = depthwise.output_size((self.at.height, self.at.width))
        pitch = round_up(depthwise.in_channels, DEPTHWISE_BLOCK)
        target = MapSpec(
            slot="b" if self.at.slot == "a" else "a",
            height=size[0],
            width=size[1],
            pixel=round_up(pointwise.out_channels, VECTOR),
            border=0 if is_last else 1,
        )
        rows = min(size[0], max(2, STRIP_BYTES // (pitch * size[1]) // 2 * 2))
        late = size[0] * size[1] <= LATE_PIXELS
        fused = not late and depthwise.attention is None
        if self.at.slot == "stem":
            is_apart = self.stem.attention is not None or self.stem.name in self.features
            if fused and not is_apart and depthwise.stride == (2, 2):
                self.stem_bytes = 3 * (self.at.width + 2) * self.at.pixel + 2 * LINE
                self._add("STEM_UNIT", target, depthwise=depthwise, pointwise=pointwise, rows=rows)
                self._behind(pointwise, rows, size[1], pitch)
                return
            self._stem()
            target = replace(target, slot="b")
        if fused:
            self._add("UNIT", target, depthwise=depthwise, pointwise=pointwise, rows=rows)
        else:
            dense = MapSpec(slot="dense", height=size[0], width=size[1], pixel=pitch, border=0)
            self._add("DEPTHWISE", dense, depthwise=depthwise)
            self._attend(depthwise)
            rows = size[0] if late else rows
            self._add(
                "PANELS" if late else "POINTWISE", target, pointwise=pointwise, rows=0 if late else rows
            )
        self._behind(pointwise, rows, size[1], pitch)

    def _stem(self) -> None:
        self.at = replace(self.at, slot="a")
        self._add("STEM", self.at)
        self._attend(self.stem)

    def done(self, *, has_classifier: bool) -> NetworkPlan:
        if self.at.slot == "stem":  # a network of nothing else
            self._stem()
        self._add("SUM", self.at)
        self._add("POOL", self.at)
        if has_classifier:
            self._add("CLASSIFY", self.at)
        slots = {"a": 0, "b": 0, "dense": 0}
        for step in self.steps:
            for spec in (step.source, step.target):
                if spec.slot != "stem":
                    slots[spec.slot] = max(slots[spec.slot], round_up(spec.num_bytes, LINE))
        return NetworkPlan(
            stem=self.stem,
            image=self.image,
            stem_size=self.stem_size,
            steps=tuple(self.steps),
            slots=slots,
            strip_bytes=round_up(self.strip, LINE),
            wide_values=round_up(self.wide, LINE),
            stem_bytes=round_up(self.stem_bytes, LINE),
            gather_bytes=round_up(self.gather, LINE),
        )

    def _add(
        self,
        kind: StepKind,
        target: MapSpec,
        *,
        depthwise: ConvLayer | None = None,
        pointwise: ConvLayer | None = None,
        rows: int = 0,
    ) -> None:
        step = NetworkStep(
            kind=kind,
            source=self.at,
            target=target,
            depthwise=depthwise,
            pointwise=pointwise,
            rows=rows,
            clears=target.border > 0 and self.cleared.get(target.slot) != target,
        )
        self.cleared[target.slot] = target
        self.steps.append(step)
        self.at = target

    def _behind(self, pointwise: ConvLayer, rows: int, width: int, pitch: int) -> None:
        self._strip(rows, width, pitch)
        self._attend(pointwise)

    def _attend(self, conv: ConvLayer) -> None:
        if conv.attention is not None:
            for kind in ("SUM", "AVERAGE", "GATE"):
                self.steps.append(NetworkStep(kind=kind, source=self.at, target=self.at, attention=conv))
        if conv.name in self.features:
            self.steps.append(NetworkStep(kind="FEATURES", source=self.at, target=self.at, given=conv))

    def _strip(self, rows: int, width: int, pitch: int) -> None:
        """Room for that many rows of values: an odd number's pair, and a tile that is not full."""
        values = (round_up(rows, 2) * width + MOST_TILE_PIXELS) * pitch + 2 * LINE
        self.strip, self.wide = max(self.strip, values), max(self.wide, values)


def _check_stem(stem: ConvLayer) -> None:
    if stem.groups != 1 or stem.dilation != (1, 1):
        raise ExportError(
            f"{stem.name}: the C engine's first convolution has no groups and no dilation, got "
            f"groups={stem.groups}, dilation={stem.dilation}"
        )


def _check_unit(depthwise: ConvLayer, pointwise: ConvLayer) -> None:
    shape, stride = depthwise.weight.shape, depthwise.stride
    if depthwise.groups != shape[0] or shape[1:] != (1, 3, 3) or stride not in ((1, 1), (2, 2)):
        raise ExportError(
            f"{depthwise.name}: the C engine has depthwise convolutions of 3×3 with stride 1 or 2, "
            f"got weights {shape}, groups={depthwise.groups}, stride={stride}"
        )
    if depthwise.padding != (1, 1) or depthwise.dilation != (1, 1):
        raise ExportError(
            f"{depthwise.name}: the C engine has padding 1 and no dilation, got "
            f"padding={depthwise.padding}, dilation={depthwise.dilation}; use output_stride=32"
        )
    shape = pointwise.weight.shape
    if (
        pointwise.groups != 1
        or shape[2:] != (1, 1)
        or pointwise.stride != (1, 1)
        or pointwise.padding != (0, 0)
    ):
        raise ExportError(
            f"{pointwise.name}: the C engine wants a plain 1×1 convolution here, got weights {shape}, "
            f"groups={pointwise.groups}, stride={pointwise.stride}, padding={pointwise.padding}"
        )


def _check_zero_points(quantized: QuantizedNetwork, conv: ConvLayer) -> None:
    name = conv.output_name
    zero = quantized.activations[name].zero_point
    if zero != INT8_MIN:
        raise ExportError(f"{name}: the C engine reads activations that start at zero, got zero point {zero}")
    if (
        isinstance(conv.attention, AttentionLayer)
        and conv.attention.expand.weight.shape[0] != conv.out_channels
    ):
        raise ExportError(f"{name}: an attention must give a gate for each of {conv.out_channels} channels")
