"""What of a recipe follows from its data: decided before the run, and written in its configuration."""

from __future__ import annotations

import statistics
from collections.abc import Container
from dataclasses import dataclass, replace

from mobileone.data.open import open_data, open_whole
from mobileone.data.source import ImageSource, StreamedSource
from mobileone.errors import BadImageError
from mobileone.input_spec import sides
from mobileone.training.config.train_config import TrainConfig

LOOKED_AT = 500
"""Images whose sides are looked at, from all over the training set."""

SMALLEST, MULTIPLE = 32, 16  # of an input's side, pixels


ADAPTED_FIELDS = ("input_spec.size",)
"""What may be decided here."""


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
    over the set, rounded down to a multiple of 16, at least 32, at most what the recipe says.

    Args:
        config: of a recipe for data of your own.
        keep: full names of the fields that are to stay.

    Raises:
        DataError: if the data cannot be used.

    >>> from mobileone.training.config.recipe import recipe
    >>> adapt(recipe("linear_probe").with_values({"data": "digits"})).config.input_spec.size
    32
    """
    if "input_spec.size" in keep:
        return Adapted(config=config)
    if config.hold_out.is_on:  # training images come from all over the set
        source = open_whole(config.data, task=config.task)
    else:
        source = open_data(config.data, split="train", task=config.task)
    short = None if isinstance(source, StreamedSource) else median_short_side(source)
    if short is None:
        return Adapted(config=config)
    side = max(short // MULTIPLE * MULTIPLE, SMALLEST)
    if side >= min(sides(config.input_spec.size)):
        return Adapted(config=config)
    spec = replace(config.input_spec, size=side)
    line = f"input size {side} px: half of the training images have a short side of {short} px or less"
    return Adapted(config=replace(config, input_spec=spec), reasons=(line,))


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
