"""The networks as data: widths, depths, branches, and the block specs that follow. Imports no torch.

Sources: the paper's table of widths and branches (arXiv 2206.04040) and Apple's definition of it.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

from mobileone.errors import ConfigError
from mobileone.limits import CHANNELS, DEPTH

Form = Literal["train", "inference"]
BranchMode = Literal["auto", "branches", "online"]
Pair = tuple[int, int]

NUM_STAGES = 4
STAGE_DEPTHS = (2, 8, 10, 1)
BASE_WIDTHS = (64, 128, 256, 512)
MAX_STEM_WIDTH = 64
SE_REDUCTION = 16


def check_count(value: object, name: str, *, least: int) -> int:
    """A whole number of at least that much, as it is given.

    Raises:
        ConfigError: if it is something else, such as its text.

    >>> check_count(3, "in_chans", least=1)
    3
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise ConfigError(f"{name} must be a whole number, got {value!r}") from error
    if number < least:
        raise ConfigError(f"{name} must be {f'at least {least}' if least else '0 or more'}, got {value}")
    return number


def as_pair(value: int | Pair) -> Pair:
    """`3` becomes `(3, 3)`; a pair stays itself. Order is (height, width)."""
    if isinstance(value, int):
        return (value, value)
    height, width = value
    return (int(height), int(width))


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """One re-parameterisable unit, in either form.

    The convolution branches are `num_conv_branches` times kernel_size conv + BN. `use_scale` adds a 1×1
    conv + BN, `use_identity` a lone BN; both read the pixel under the kernel's centre, so they need an odd
    kernel with "same" padding. `None` means the paper's rule: a scale branch where the kernel is larger
    than 1, an identity branch where stride is 1 and the channel counts agree.

    Attributes:
        in_channels: channels in.
        out_channels: channels out.
        kernel_size: kernel (height, width), or one int for both.
        stride: stride, likewise.
        padding: zero padding; `None` means "same" for stride 1, dilation·(kernel − 1)/2.
        dilation: spacing of the kernel's taps.
        groups: channel groups, a divisor of both channel counts.
        num_conv_branches: k of the paper, at least 1.
        use_scale: whether there is a scale branch.
        use_identity: whether there is an identity branch.
        use_se: whether squeeze-and-excitation (reduction 1/16) stands before the ReLU.

    Raises:
        ConfigError: on values that describe no convolution, or a branch that cannot be merged.

    >>> BlockSpec(8, 8, kernel_size=3, groups=8).padding
    (1, 1)
    """

    in_channels: int
    out_channels: int
    kernel_size: int | Pair = 3
    stride: int | Pair = 1
    padding: int | Pair | None = None
    dilation: int | Pair = 1
    groups: int = 1
    num_conv_branches: int = 1
    use_scale: bool | None = None
    use_identity: bool | None = None
    use_se: bool = False

    def __post_init__(self) -> None:
        def set_field(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        for name in ("kernel_size", "stride", "dilation"):
            set_field(name, as_pair(getattr(self, name)))
        for name in ("in_channels", "out_channels", "groups", "num_conv_branches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("kernel_size", "stride", "dilation"):
            if min(getattr(self, name)) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ConfigError(
                f"groups={self.groups} must divide in_channels={self.in_channels} "
                f"and out_channels={self.out_channels}"
            )
        doubled = tuple(d * (k - 1) for k, d in zip(self.kernel, self.dilations, strict=True))
        if self.padding is None:
            if any(p % 2 for p in doubled):
                raise ConfigError(f"kernel_size={self.kernel} has no same padding; give padding=")
            set_field("padding", (doubled[0] // 2, doubled[1] // 2))
        else:
            set_field("padding", as_pair(self.padding))
        if min(self.paddings) < 0:
            raise ConfigError(f"padding must not be negative, got {self.padding}")
        centred = all(k % 2 for k in self.kernel) and all(
            2 * p == twice for p, twice in zip(self.paddings, doubled, strict=True)
        )
        same_shape = self.in_channels == self.out_channels and self.strides == (1, 1)
        if self.use_scale is None:
            set_field("use_scale", centred and self.kernel != (1, 1))
        if self.use_identity is None:
            set_field("use_identity", centred and same_shape)
        if (self.use_scale or self.use_identity) and not centred:
            raise ConfigError(
                f"a scale or identity branch needs an odd kernel with same padding, got "
                f"kernel_size={self.kernel}, padding={self.paddings}, dilation={self.dilations}; "
                "pass use_scale=False, use_identity=False"
            )
        if self.use_identity and not same_shape:
            raise ConfigError("an identity branch needs stride 1 and in_channels == out_channels")
        if self.use_se and self.out_channels < SE_REDUCTION:
            raise ConfigError(f"use_se needs at least {SE_REDUCTION} channels, got {self.out_channels}")

    # The fields accept an int or None; after validation they are pairs. These say so to the type checker.
    @property
    def kernel(self) -> Pair:
        """Kernel (height, width)."""
        return as_pair(self.kernel_size)

    @property
    def strides(self) -> Pair:
        """Stride (height, width)."""
        return as_pair(self.stride)

    @property
    def paddings(self) -> Pair:
        """Zero padding (height, width)."""
        assert self.padding is not None
        return as_pair(self.padding)

    @property
    def dilations(self) -> Pair:
        """Dilation (height, width)."""
        return as_pair(self.dilation)

    @property
    def num_branches(self) -> int:
        """All branches: convolutions, scale and identity."""
        return self.num_conv_branches + bool(self.use_scale) + bool(self.use_identity)


@dataclass(frozen=True, slots=True)
class Variant:
    """One network: what tells S0 from S4.

    Attributes:
        name: `mobileone_s0`, or a name of your own.
        widths: channels of the four stages.
        num_conv_branches: k, convolution branches in every unit but the stem (which has one).
        se_blocks: how many of each stage's last blocks carry squeeze-and-excitation.
        depths: blocks (one depthwise and one pointwise unit each) per stage.
        stem_width: channels of the stem; `None` means min(64, first stage's width).

    >>> VARIANTS["mobileone_s0"].stem_channels
    48
    """

    name: str
    widths: tuple[int, int, int, int]
    num_conv_branches: int = 1
    se_blocks: tuple[int, int, int, int] = (0, 0, 0, 0)
    depths: tuple[int, int, int, int] = STAGE_DEPTHS
    stem_width: int | None = None

    def __post_init__(self) -> None:
        for name in ("widths", "se_blocks", "depths"):
            value = tuple(getattr(self, name))
            if len(value) != NUM_STAGES:
                raise ConfigError(f"{name} needs {NUM_STAGES} values, one a stage, got {value}")
            least = 0 if name == "se_blocks" else 1
            object.__setattr__(self, name, tuple(check_count(each, name, least=least) for each in value))
        check_count(self.num_conv_branches, "num_conv_branches", least=1)
        if self.stem_width is not None:
            check_count(self.stem_width, "stem_width", least=1)
        if max(self.widths) > CHANNELS.value or max(*self.depths, self.num_conv_branches) > DEPTH.value:
            raise ConfigError(
                f"{self.name}: widths must be at most {CHANNELS}, depths and num_conv_branches {DEPTH}"
            )
        if any(not 0 <= se <= depth for se, depth in zip(self.se_blocks, self.depths, strict=True)):
            raise ConfigError(f"{self.name}: se_blocks {self.se_blocks} exceed depths {self.depths}")

    @property
    def stem_channels(self) -> int:
        """Channels out of the stem."""
        return self.stem_width or min(MAX_STEM_WIDTH, self.widths[0])

    @property
    def num_features(self) -> int:
        """Channels of the last stage: the length of the pooled feature vector."""
        return self.widths[-1]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; `Variant(**d)` is the way back."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class UnitSpec:
    """A block with its place in the network: `stem` or `stages.i.j`, and the stride from the input."""

    name: str
    block: BlockSpec
    reduction: int
    stage: int = field(default=0)


def network_units(variant: Variant, *, in_chans: int = 3, output_stride: int = 32) -> Iterator[UnitSpec]:
    """Every unit of the network, in order of execution.

    Args:
        variant: the network.
        in_chans: channels of the input image.
        output_stride: 32 as published, or 16 or 8 for dense prediction: later strides become dilation,
            with the same weights.

    Raises:
        ConfigError: on an output_stride other than 8, 16 or 32.
    """
    if output_stride not in (8, 16, 32):
        raise ConfigError(f"output_stride must be 8, 16 or 32, got {output_stride}")
    check_count(in_chans, "in_chans", least=1)
    channels, reduction, dilation = variant.stem_channels, 2, 1
    yield UnitSpec("stem", BlockSpec(in_chans, channels, 3, 2, use_identity=False), reduction)
    for stage, (width, depth, se) in enumerate(
        zip(variant.widths, variant.depths, variant.se_blocks, strict=True)
    ):
        for index in range(depth):
            branched = partial(
                BlockSpec, num_conv_branches=variant.num_conv_branches, use_se=index >= depth - se
            )
            first_dilation, stride = dilation, 1
            if index == 0 and reduction >= output_stride:
                dilation *= 2
            elif index == 0:
                stride = 2
                reduction *= 2
            depthwise = branched(
                channels,
                channels,
                3,
                stride,
                dilation=first_dilation if index == 0 else dilation,
                groups=channels,
                use_identity=index > 0,  # the published stride decides, whatever output_stride makes of it
            )
            pointwise = branched(channels, width, 1)
            yield UnitSpec(f"stages.{stage}.{2 * index}", depthwise, reduction, stage + 1)
            yield UnitSpec(f"stages.{stage}.{2 * index + 1}", pointwise, reduction, stage + 1)
            channels = width


def _published(size: str, multipliers: tuple[float, float, float, float], **options: Any) -> Variant:
    first, second, third, fourth = (int(base * a) for base, a in zip(BASE_WIDTHS, multipliers, strict=True))
    return Variant(f"mobileone_{size}", (first, second, third, fourth), **options)


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        _published("s0", (0.75, 1.0, 1.0, 2.0), num_conv_branches=4),
        _published("s1", (1.5, 1.5, 2.0, 2.5)),
        _published("s2", (1.5, 2.0, 2.5, 4.0)),
        _published("s3", (2.0, 2.5, 3.0, 4.0)),
        _published("s4", (3.0, 3.5, 3.5, 4.0), se_blocks=(0, 0, 5, 1)),
    )
}
"""The published networks by name, `mobileone_s0` to `mobileone_s4`."""


def get_variant(name: str | Variant) -> Variant:
    """The variant of that name; a `Variant` passes through.

    Raises:
        ConfigError: on an unknown name, with the nearest known one.
    """
    if isinstance(name, Variant):
        return name
    if not isinstance(name, str):
        raise ConfigError(f"a variant is a name or a Variant, got a {type(name).__name__}")
    if name in VARIANTS:
        return VARIANTS[name]
    near = difflib.get_close_matches(name, VARIANTS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"unknown variant {name!r}{hint} (known: {', '.join(VARIANTS)})")
