"""Every public way to name MobileOne's tensors, as rules on names. Imports no torch.

A name is a place in the network (stem, unit of a stage, or head), a part of it, and a parameter; a layout is
how one project spells the three.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, TypeVar

from mobileone.errors import CheckpointError
from mobileone.variants import NUM_STAGES

LayoutName = Literal["timm", "apple", "mmpretrain", "reference"]
T = TypeVar("T")

PARAMETERS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
SHOWN = 4
SAMPLE = 100


STEM, HEAD = -1, NUM_STAGES


class Place(NamedTuple):
    """Where a tensor belongs: stage −1 is the stem, stage 4 the head; `branch` counts convolutions."""

    stage: int
    unit: int
    part: str
    branch: int
    parameter: str


class Layout:
    """One project's spelling; `first_stage` is its number for our stage 0.

    Attributes:
        stem: what the names of the stem begin with.
    """

    def __init__(
        self, *, stem: str, unit: str, first_stage: int, head: str, parts: Mapping[str, str]
    ) -> None:
        self.stem = stem
        self._unit, self._head, self._first = unit, head, first_stage
        tops = {template.partition(".")[0] for template in (stem, unit, head)}
        self._tops = re.compile("|".join(_regex(top) for top in tops))
        self._parts = dict(parts)
        patterns = {(HEAD, "fc"): head}
        for part, spelling in parts.items():
            patterns[STEM, part] = f"{stem}.{spelling}"
            patterns[0, part] = f"{unit}.{spelling}"
        self._patterns = [
            (stage, part, re.compile(_regex(pattern))) for (stage, part), pattern in patterns.items()
        ]

    def owns(self, name: str) -> bool:
        """Whether a name lies within the network's own modules, known or not."""
        return self._tops.fullmatch(name.partition(".")[0]) is not None

    def parse(self, name: str) -> Place | None:
        """The place a name stands for, None if it is not of this layout."""
        prefix, _, parameter = name.rpartition(".")
        if parameter not in PARAMETERS:
            return None
        for stage, part, pattern in self._patterns:
            if match := pattern.fullmatch(prefix):
                numbers = {key: int(value) for key, value in match.groupdict().items()}
                if stage == 0:
                    stage = numbers["stage"] - self._first
                    if not 0 <= stage < NUM_STAGES:
                        return None
                return Place(stage, numbers.get("unit", 0), part, numbers.get("branch", 0), parameter)
        return None

    def render(self, place: Place) -> str:
        """The name of a place."""
        if place.stage == HEAD:
            return f"{self._head}.{place.parameter}"
        unit = self.stem
        if place.stage != STEM:
            unit = self._unit.format(stage=place.stage + self._first, unit=place.unit)
        return f"{unit}.{self._parts[place.part].format(branch=place.branch)}.{place.parameter}"


def _regex(template: str) -> str:
    return re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>\\d{1,4})", re.escape(template))


LAYOUTS: dict[LayoutName, Layout] = {
    "timm": Layout(
        stem="stem",
        unit="stages.{stage}.{unit}",
        first_stage=0,
        head="head.fc",
        parts={
            "fused": "reparam_conv",
            "identity": "identity",
            "conv": "conv_kxk.{branch}.conv",
            "norm": "conv_kxk.{branch}.bn",
            "scale_conv": "conv_scale.conv",
            "scale_norm": "conv_scale.bn",
            "squeeze": "attn.fc1",
            "excite": "attn.fc2",
        },
    ),
    "apple": Layout(
        stem="stage0",
        unit="stage{stage}.{unit}",
        first_stage=1,
        head="linear",
        parts={
            "fused": "reparam_conv",
            "identity": "rbr_skip",
            "conv": "rbr_conv.{branch}.conv",
            "norm": "rbr_conv.{branch}.bn",
            "scale_conv": "rbr_scale.conv",
            "scale_norm": "rbr_scale.bn",
            "squeeze": "se.reduce",
            "excite": "se.expand",
        },
    ),
    "mmpretrain": Layout(
        stem="backbone.stage0",
        unit="backbone.stage{stage}.{unit}",
        first_stage=1,
        head="head.fc",
        parts={
            "fused": "branch_reparam",
            "identity": "branch_norm",
            "conv": "branch_conv_list.{branch}.conv",
            "norm": "branch_conv_list.{branch}.norm",
            "scale_conv": "branch_scale.conv",
            "scale_norm": "branch_scale.norm",
            "squeeze": "se.conv1.conv",
            "excite": "se.conv2.conv",
        },
    ),
    "reference": Layout(
        stem="p1.0",
        unit="p{stage}.{unit}",
        first_stage=2,
        head="fc.2",
        parts={
            "fused": "conv",
            "identity": "identity",
            "conv": "conv1.{branch}.conv",
            "norm": "conv1.{branch}.norm",
            "scale_conv": "conv2.conv",
            "scale_norm": "conv2.norm",
            "squeeze": "se.se.1",
            "excite": "se.se.3",
        },
    ),
}


def some(names: Iterable[str]) -> str:
    """How many names there are, and the first few."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return f"{len(listed)} ({', '.join(name[:80] for name in listed[:SHOWN])}{more})"


def detect(names: Iterable[str], *, source: object = "state dict") -> LayoutName:
    """The layout that explains most of the names.

    Raises:
        CheckpointError: if none explains any.

    >>> detect(["stage0.reparam_conv.weight", "linear.weight"])
    'apple'
    """
    listed = list(names)
    sample = listed[:: 1 + len(listed) // SAMPLE]
    counts = {
        layout: sum(
            (place := LAYOUTS[layout].parse(name)) is not None and place.stage != HEAD for name in sample
        )
        for layout in LAYOUTS
    }
    best = max(counts, key=lambda layout: counts[layout])
    if not counts[best]:
        raise CheckpointError(
            f"cannot recognise {source}: its tensors are no MobileOne's; names found: {some(listed)}"
        )
    return best


def rename(names: Iterable[str], old: LayoutName, new: LayoutName, *, source: object) -> dict[str, str]:
    """New name to old name of every tensor.

    Raises:
        CheckpointError: on a name that the old layout does not have, listed.
    """
    renamed, left = {}, []
    for name in names:
        place = LAYOUTS[old].parse(name)
        if place is None:
            left.append(name)
        else:
            renamed[LAYOUTS[new].render(place)] = name
    if left:
        raise CheckpointError(f"{source}: tensors left over that {old} names do not have: {some(left)}")
    return renamed


def to_timm(state: Mapping[str, T], layout: LayoutName, *, source: object = "state dict") -> dict[str, T]:
    """The same values under timm's names, which are ours.

    Raises:
        CheckpointError: on a name that the layout does not have, listed.

    >>> to_timm({"p3.0.conv1.0.norm.bias": 7}, "reference")
    {'stages.1.0.conv_kxk.0.bn.bias': 7}
    """
    return {new: state[old] for new, old in rename(state, layout, "timm", source=source).items()}


def from_timm(state: Mapping[str, T], layout: LayoutName, *, source: object = "state dict") -> dict[str, T]:
    """The same values under another layout's names.

    Raises:
        CheckpointError: on a name that is not timm's, listed.

    >>> from_timm({"stages.1.0.attn.fc1.bias": 7}, "apple")
    {'stage2.0.se.reduce.bias': 7}
    """
    return {new: state[old] for new, old in rename(state, "timm", layout, source=source).items()}
