"""How much a file from elsewhere may ask for: one table, and each number can be set. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mobileone.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound, read from the environment at every use, so that worker processes have the same.

    Attributes:
        name: such as `image_pixels`; the variable is `MOBILEONE_MAX_IMAGE_PIXELS`.
        default: where the variable is not set.
        what: is counted, in words.
    """

    name: str
    default: int
    what: str

    @property
    def variable(self) -> str:
        """Environment variable that sets it.

        >>> IMAGE_PIXELS.variable
        'MOBILEONE_MAX_IMAGE_PIXELS'
        """
        return f"MOBILEONE_MAX_{self.name.upper()}"

    @property
    def value(self) -> int:
        """What holds now.

        Raises:
            ConfigError: if the variable is not a whole number above 0.
        """
        text = os.environ.get(self.variable)
        if text is None:
            return self.default
        if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text)):
            raise ConfigError(f"${self.variable} must be a whole number above 0, got {text!r}")
        return int(text)

    def __str__(self) -> str:
        """For messages: the number, and how to change it."""
        return f"{self.value} (${self.variable} sets it)"


IMAGE_PIXELS = Limit("image_pixels", 2**26, "height × width of an image that is decoded, or resized to")
IMAGE_BYTES = Limit("image_bytes", 2**28, "bytes of an image file, and of an image in a shard")
JSON_BYTES = Limit("json_bytes", 2**26, "bytes of a manifest, a configuration, a list, a shard's index")
CLASSES = Limit("classes", 1_000_000, "classes that a manifest, a configuration or an index may name")
INPUT_SIZE = Limit("input_size", 8192, "side of a network's input that a file may ask for, pixels")
ARTIFACT_BYTES = Limit("artifact_bytes", 2**32, "bytes of all files of an exported network together")
CHANNELS = Limit("channels", 2**16, "channels of the input and of a stage of a network that a file describes")
DEPTH = Limit("depth", 1000, "blocks of a stage, and branches of a block")
SHARDS = Limit("shards", 100_000, "shards that a pattern may stand for")
FETCH_SECONDS = Limit("fetch_seconds", 1800, "seconds until a shard is there, all tries and waits together")
STALL_SECONDS = Limit("stall_seconds", 60, "seconds in which a URL or pipe may give nothing")

LIMITS = (
    IMAGE_PIXELS,
    IMAGE_BYTES,
    JSON_BYTES,
    CLASSES,
    INPUT_SIZE,
    ARTIFACT_BYTES,
    CHANNELS,
    DEPTH,
    SHARDS,
    FETCH_SECONDS,
    STALL_SECONDS,
)
