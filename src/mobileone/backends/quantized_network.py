"""An int8 network as plain data: the same layers, and the integers and scales that stand for their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.fused_layers import Floats, FusedLayers

INT8_MIN, INT8_MAX, STEPS = -128, 127, 255
UINT8_OFFSET = 128  # uint8 less this is int8


@dataclass(frozen=True, slots=True)
class Int8Encoding:
    """How int8 stands for reals: real = scale · (integer − zero_point).

    Attributes:
        scale: one step; one value for the whole tensor, or one a channel.
        zero_point: the integer that stands for 0; one for all channels.
        dim: the axis of the channels where there are several scales.
    """

    scale: tuple[float, ...]
    zero_point: int = 0
    dim: int = 0

    @property
    def step(self) -> float:
        """The scale of a tensor that has only one."""
        (scale,) = self.scale
        return scale


GATE = Int8Encoding((1 / 256,), INT8_MIN)
"""How the gates of squeeze-and-excitation, in 0..1, are held."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class QuantizedWeight:
    """Weights of one convolution or linear layer.

    Attributes:
        values: int8, the weight's shape, in −127..127.
        scale: of each output channel; zero stands for zero.
        bias: int32, in units of the input's scale times the weight's; None where the layer computes in
            float from dequantised weights' products (the classifier).
    """

    values: NDArray[np.int8]
    scale: Floats
    bias: NDArray[np.int32] | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class QuantizedNetwork:
    """An int8 network.

    Attributes:
        layers: the float layers that the integers stand for (equalised, biases corrected): geometry, and what
            stays in float.
        weights: by the part's name; a part that has none stays in float.
        activations: by the name of the tensor: `image`, a convolution's name, `<name>.attn` behind its
            attention, and `pooled`, for runtimes that read the average in eight bits.
        border: the pixel, uint8 (channels,), that stands for zero after normalisation, around the image.
        gains: what each channel (C,) behind a convolution is to be multiplied by, for the integers stand for
            equalised channels: of those whose maps are the output, and of the last.
    """

    layers: FusedLayers
    weights: Mapping[str, QuantizedWeight]
    activations: Mapping[str, Int8Encoding]
    border: NDArray[np.uint8]
    gains: Mapping[str, Floats] = field(default_factory=dict)
