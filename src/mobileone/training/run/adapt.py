"""What of a recipe follows from its data: decided before the run, and written in its configuration."""

from __future__ import annotations

import statistics
from collections.abc import Container
from dataclasses import dataclass, replace

from mobileone.data.open import open_data, open_whole
from mobileone.data.source import ImageSource, StreamedSource
from mobileone.data.subset import leave_out
from mobileone.errors import BadImageError
from mobileone.input_spec import Size, sides, square_or_sides
from mobileone.training.config.augmentation import Phase
from mobileone.training.config.train_config import TrainConfig

LOOKED_AT = 500
"""Images whose sides are looked at, from all over the training set."""

SMALLEST, MULTIPLE = 32, 16  # of an input's side, pixels

STRIDE = 32
"""Of the network: its last feature map has ceil(side / 32) places a side."""


ADAPTED_FIELDS = ("input_spec.size", "batch_size", "progressive")
"""What may be decided here."""

FEWEST_STEPS, SMALLEST_BATCH = 20, 8
"""Of an epoch, and images of a step that BatchNorm's statistics are still worth something of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """A configuration that fits its data.

    Attributes:
        config: the whole of it; nothing is left to be decided.
        reasons: what was changed and why, a line each.
    """

    config: TrainConfig
    reasons: tuple[str, ...] = ()


def adapt(config: TrainConfig, *, keep: Container[str] = ()) -> Adapted:
    """Make a recipe fit the training images that it names.

    The input gets no larger than the images are: its side is the median of their short sides, of 500 from all
    over the set, rounded down to a multiple of 16, at least 32, at most what the recipe says. Where a fused
    network is trained, it is the nearest multiple of 32, and training images are 16 pixels smaller: in random
    crops things look larger, and the last feature map, ceil(side / 32) places a side, stays as it is. With
    few images a step has fewer, so that an epoch has some 20 steps, in halves, down to 8; the learning rate
    is in proportion (`scaled_lr`).

    Args:
        config: of a recipe for data of your own.
        keep: full names of the fields that are to stay.

    Raises:
        DataError: if the data cannot be used.

    >>> from mobileone import recipe
    >>> adapt(recipe("linear_probe").with_values({"data": "digits"})).config.input_spec.size
    32
    """
    if config.hold_out.is_on:  # training images come from all over the set
        source = open_whole(config.data, task=config.task)
    else:
        source = open_data(config.data, split="train", task=config.task)
    if config.exclude is not None:
        (source,) = leave_out(config.exclude, source, must_find=False)
    reasons: list[str] = []
    trains_fused = config.form == "inference" and not config.probe.is_all
    if "input_spec.size" not in keep and not isinstance(source, StreamedSource):
        short = median_short_side(source)
        side = None if short is None else max(_suitable_side(short, trains_fused=trains_fused), SMALLEST)
        if side is not None and side < min(sides(config.input_spec.size)):
            config = replace(config, input_spec=replace(config.input_spec, size=side))
            reasons.append(
                f"input size {side} px: half of the training images have a short side of {short} px or less"
            )
    trained = trained_size(config.input_spec.size)
    if "progressive" not in keep and trains_fused and trained != config.input_spec.size:
        config = replace(config, progressive=(Phase(until=1.0, size=trained),))
    if "batch_size" not in keep and not config.probe.is_all:
        number = round(len(source) * (1 - config.hold_out.held_share))
        batch_size = suitable_batch(number, config.batch_size)
        if batch_size < config.batch_size:
            config = replace(config, batch_size=batch_size)
            reasons.append(f"batch size {batch_size}: there are {number} training images")
    return Adapted(config=config, reasons=tuple(reasons))


def _suitable_side(short: int, *, trains_fused: bool) -> int:
    """Of the input, for images of that short side."""
    return (short + STRIDE // 2) // STRIDE * STRIDE if trains_fused else short // MULTIPLE * MULTIPLE


def trained_size(size: Size) -> Size:
    """Of training images: as small as leaves the last feature map its places, in multiples of 16.

    >>> [trained_size(size) for size in (192, 100, (96, 64))]
    [176, 100, (80, 64)]
    """
    height, width = (
        side - MULTIPLE if side % STRIDE == 0 and side > 2 * STRIDE else side for side in sides(size)
    )
    return square_or_sides(height, width)


def suitable_batch(num_images: int, most: int) -> int:
    """Images a step, halved until an epoch has some 20 steps.

    >>> [suitable_batch(number, 64) for number in (5000, 700, 100)]
    [64, 32, 8]
    """
    while most >= 2 * SMALLEST_BATCH and num_images < FEWEST_STEPS * most:
        most //= 2
    return most


def median_short_side(source: ImageSource) -> int | None:
    """Of the images, as they stand upright, pixels; None if none of those looked at can be read."""
    found = []
    for index in range(0, len(source), max(len(source) // LOOKED_AT, 1)):
        try:
            image = source.read(index)
            found.append(min(image.height, image.width))
        except BadImageError:  # the run will say what it thinks of it
            continue
    return statistics.median_low(found) if found else None
