"""The network behind a set of tensors: layout, form, variant, classes, channels. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, cast

from mobileone.checkpoint.config import MAX_CONV_BRANCHES, ModelConfig
from mobileone.checkpoint.layouts import (
    HEAD,
    LAYOUTS,
    PARAMETERS,
    STEM,
    LayoutName,
    Place,
    detect,
    rename,
    some,
)
from mobileone.errors import CheckpointError, ConfigError
from mobileone.limits import CHANNELS
from mobileone.variants import NUM_STAGES, SE_REDUCTION, VARIANTS, BlockSpec, Form, Variant, network_units

Shape = tuple[int, ...]
Quadruple = tuple[int, int, int, int]

# Wrappers put these anywhere into names: torch.compile, activation checkpointing, FSDP.
WRAPPERS = frozenset({"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"})
# The profiler thop leaves these buffers in the models it has counted.
PROFILER_BUFFERS = ("total_ops", "total_params")


class HasShape(Protocol):
    """Anything with a shape: a tensor, or a reference to one."""

    @property
    def shape(self) -> Sequence[int]:
        """Sizes of the dimensions."""


def expected_shapes(
    variant: Variant, *, form: Form, num_classes: int = 1000, in_chans: int = 3
) -> dict[str, Shape]:
    """Every entry of the state dict of that network, in its order, under timm's names.

    >>> len(expected_shapes(VARIANTS["mobileone_s0"], form="train"))
    1323
    """
    shapes: dict[str, Shape] = {}
    for unit in network_units(variant, in_chans=in_chans):
        for part, shape in _unit_shapes(unit.block, form):
            shapes[f"{unit.name}.{part}"] = shape
    if num_classes:
        shapes["head.fc.weight"] = (num_classes, variant.num_features)
        shapes["head.fc.bias"] = (num_classes,)
    return shapes


def _norm(name: str, channels: int) -> Iterator[tuple[str, Shape]]:
    for parameter in PARAMETERS:
        yield f"{name}.{parameter}", () if parameter == "num_batches_tracked" else (channels,)


def _unit_shapes(block: BlockSpec, form: Form) -> Iterator[tuple[str, Shape]]:
    kernel = block.kernel
    channels_in, channels = block.in_channels // block.groups, block.out_channels
    if form == "inference":
        yield "reparam_conv.weight", (channels, channels_in, *kernel)
        yield "reparam_conv.bias", (channels,)
    else:
        if block.use_identity:
            yield from _norm("identity", channels)
        for branch in range(block.num_conv_branches):
            yield f"conv_kxk.{branch}.conv.weight", (channels, channels_in, *kernel)
            yield from _norm(f"conv_kxk.{branch}.bn", channels)
        if block.use_scale:
            yield "conv_scale.conv.weight", (channels, channels_in, 1, 1)
            yield from _norm("conv_scale.bn", channels)
    if block.use_se:
        squeezed = channels // SE_REDUCTION
        yield "attn.fc1.weight", (squeezed, channels, 1, 1)
        yield "attn.fc1.bias", (squeezed,)
        yield "attn.fc2.weight", (channels, squeezed, 1, 1)
        yield "attn.fc2.bias", (channels,)


def num_parameters(shapes: Mapping[str, Shape]) -> int:
    """Elements that are trained: everything but BatchNorm's buffers."""
    return sum(
        math.prod(shape) for name, shape in shapes.items() if name.rpartition(".")[2] in ("weight", "bias")
    )


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """What a set of tensors is.

    Attributes:
        layout: whose names they have.
        variant: the network; one of `VARIANTS`, or one named `custom`.
        form: `"train"` or `"inference"`.
        num_classes: length of the logits, 0 without a head.
        in_chans: channels of the input image.
        names: timm's name of every tensor of the network, to its name in the file.
        dropped: names in the network that carry no weights: a profiler's counters.
        beside: names in the file's table that are not the network's.
    """

    layout: LayoutName
    variant: Variant
    form: Form
    num_classes: int
    in_chans: int
    names: dict[str, str]
    dropped: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


class Root(NamedTuple):
    """Where in a table a network stands: what its names begin with, and whose they are."""

    prefix: str
    layout: LayoutName


def roots(names: Iterable[str]) -> list[Root]:
    """Every place in a table that has the stem of a network, in the order of the names.

    >>> roots(["model.stem.conv_scale.conv.weight", "model.head.fc.bias", "loss.weight"])
    [Root(prefix='model.', layout='timm')]
    """
    found: dict[Root, None] = {}
    for name in names:
        plain = "." + unwrapped(name)
        for layout, spelling in LAYOUTS.items():
            at = plain.rfind(f".{spelling.stem}.")
            if at >= 0 and (place := spelling.parse(plain[at + 1 :])) is not None and place.stage == STEM:
                found.setdefault(Root(plain[1 : at + 1], layout))
    return list(found)


def unwrapped(name: str) -> str:
    """A name without what wrappers put into it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def recognise(
    tensors: Mapping[str, HasShape],
    *,
    config: ModelConfig | None = None,
    source: object = "state dict",
    root: Root | None = None,
) -> Recognised:
    """Find layout, form and network of a state dict, accounting for every name and every shape.

    Missing `num_batches_tracked` counters are fine: they are no weights, and old files lack them. So is what
    stands beside a whole network, a criterion's tensors say: `beside` lists it.

    Args:
        tensors: name to anything with a shape.
        config: what the file says of itself; it must agree with the tensors.
        source: the file, for messages.
        root: where the network stands; None takes the first place that has a stem.

    Raises:
        CheckpointError: naming the tensors that are missing, left over or of a wrong shape.
    """
    if root is None:
        places = roots(tensors)
        root = places[0] if places else Root("", detect(map(unwrapped, tensors), source=source))
    prefix, layout = root
    names: dict[str, str] = {}
    beside = []
    for name in tensors:
        plain = unwrapped(name)
        inner = plain.removeprefix(prefix)
        if plain.startswith(prefix) and LAYOUTS[layout].owns(inner) and inner not in names:
            names[inner] = name
        else:
            beside.append(name)
    dropped = tuple(name for name in names if name.rpartition(".")[2] in PROFILER_BUFFERS)
    for name in dropped:
        del names[name]
    timm_names = {new: names[old] for new, old in rename(names, layout, "timm", source=source).items()}
    shapes = {new: tuple(tensors[old].shape) for new, old in timm_names.items()}
    found = infer(shapes, config=config, source=source)
    return replace(found, layout=layout, names=timm_names, dropped=dropped, beside=tuple(beside))


def infer(
    shapes: Mapping[str, Shape], *, config: ModelConfig | None = None, source: object = "state dict"
) -> Recognised:
    """The network that has exactly these tensors, under timm's names.

    Raises:
        CheckpointError: if there is none; the message names what is missing, left over or of a wrong shape.

    >>> infer(expected_shapes(VARIANTS["mobileone_s4"], form="inference", num_classes=10)).variant.name
    'mobileone_s4'
    """
    config = config or ModelConfig()
    places = [place for name in shapes if (place := LAYOUTS["timm"].parse(name)) is not None]
    parts = {place.part for place in places if place.stage != HEAD}
    if "fused" in parts and "conv" in parts:
        raise CheckpointError(f"{source}: some units are in train form and some in inference form")
    form: Form = "inference" if "fused" in parts else "train"
    kernel = "{unit}.reparam_conv.weight" if form == "inference" else "{unit}.conv_kxk.0.conv.weight"

    def kernel_shape(unit: str) -> Shape:
        name = kernel.format(unit=unit)
        shape = shapes.get(name)
        if shape is None or len(shape) != 4 or min(shape) < 1:
            raise CheckpointError(f"{source}: needs a convolution kernel {name}, got {shape or 'none'}")
        return shape

    stem = kernel_shape("stem")
    if stem[1] > CHANNELS.value:
        raise CheckpointError(f"{source}: has {stem[1]} input channels, at most {CHANNELS} are read")
    head = shapes.get("head.fc.weight")
    variant = _variant(places, kernel_shape, stem[0], form, source=source)
    found = Recognised(
        layout="timm",
        variant=_agreed(variant, form, config, source=source),
        form=form,
        num_classes=head[0] if head else 0,
        in_chans=stem[1],
        names={name: name for name in shapes},
    )
    for field in ("form", "num_classes", "in_chans"):
        said, is_ = getattr(config, field), getattr(found, field)
        if said is not None and said != is_:
            raise CheckpointError(f"{source}: its config says {field}={said}, its tensors {is_}")
    _compare(shapes, found, source=source)
    return found


def _variant(
    places: Sequence[Place],
    kernel_shape: Callable[[str], Shape],
    stem_width: int,
    form: Form,
    *,
    source: object,
) -> Variant:
    depths, widths, se_blocks = [], [], []
    for stage in range(NUM_STAGES):
        units = {place.unit for place in places if place.stage == stage}
        if not units or len(units) % 2 or max(units) != len(units) - 1:
            raise CheckpointError(
                f"{source}: stage {stage} needs units 0, 1, … in pairs (depthwise, pointwise), has "
                f"{some(str(unit) for unit in sorted(units)) if units else 'none'}"
            )
        depths.append(len(units) // 2)
        widths.append(kernel_shape(f"stages.{stage}.{max(units)}")[0])
        se_units = {place.unit // 2 for place in places if place.stage == stage and place.part == "squeeze"}
        se_blocks.append(len(se_units))
    branches = 1 + max((p.branch for p in places if p.part == "conv" and p.stage != STEM), default=0)
    if branches > MAX_CONV_BRANCHES:
        raise CheckpointError(f"{source}: {branches} branches a unit, at most {MAX_CONV_BRANCHES} are read")
    try:
        return Variant(
            "custom",
            cast(Quadruple, tuple(widths)),
            num_conv_branches=branches,
            se_blocks=cast(Quadruple, tuple(se_blocks)),
            depths=cast(Quadruple, tuple(depths)),
            stem_width=stem_width,
        )
    except ConfigError as error:
        raise CheckpointError(f"{source}: {error}") from error


def _agreed(variant: Variant, form: Form, config: ModelConfig, *, source: object) -> Variant:
    """The named network with these tensors: the config's own, else a published one, else the custom one."""

    def same(named: Variant) -> bool:
        # Fused tensors do not tell how many branches there were.
        branches = named.num_conv_branches if form == "inference" else variant.num_conv_branches
        unnamed = replace(variant, num_conv_branches=branches)
        return unnamed == replace(named, name="custom", stem_width=named.stem_channels)

    if config.variant is not None:
        if not same(config.variant):
            raise CheckpointError(
                f"{source}: its config says {config.variant.name} with widths {config.variant.widths} and "
                f"depths {config.variant.depths}; its tensors have widths {variant.widths} and "
                f"depths {variant.depths}, or other branches or attention"
            )
        return config.variant
    return next((named for named in VARIANTS.values() if same(named)), variant)


def _compare(shapes: Mapping[str, Shape], found: Recognised, *, source: object) -> None:
    try:
        expected = expected_shapes(
            found.variant, form=found.form, num_classes=found.num_classes, in_chans=found.in_chans
        )
    except ConfigError as error:
        raise CheckpointError(f"{source}: {error}") from error
    what = f"{found.variant.name} in {found.form} form"
    missing = [n for n in expected if n not in shapes and not n.endswith("num_batches_tracked")]
    if missing:
        raise CheckpointError(f"{source}: as {what} it misses tensors: {some(missing)}")
    left = [name for name in shapes if name not in expected]
    if left:
        raise CheckpointError(f"{source}: as {what} it has tensors left over: {some(left)}")
    for name, shape in shapes.items():
        if shape != expected[name]:
            raise CheckpointError(f"{source}: {name} must have shape {expected[name]} in {what}, got {shape}")
