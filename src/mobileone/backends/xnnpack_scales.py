"""The scales that XNNPACK computes int8 convolutions with: what LiteRT and ExecuTorch share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.quantized_network import QuantizedNetwork, QuantizedWeight
from mobileone.errors import ExportError

# XNNPACK takes a sum times a scale in this range, the upper end left out. It does not check the whole of it:
# a file with others may write beside its memory when it is loaded.
LEAST, LIMIT = 2.0**-32, 2.0**8


def with_xnnpack_scales(quantized: QuantizedNetwork, *, format: str) -> QuantizedNetwork:
    """The same network, every convolution's sums rescaled by what XNNPACK takes.

    A channel below the range, a dead one as a rule, gives zero whatever it reads: sums are below 2³¹, so half
    a step is out of reach. It gets zeros for weights and the least scale, and gives the same.

    Args:
        quantized: the network.
        format: what is written, for the message.

    Raises:
        ExportError: if a scale is above the range.
    """
    weights, source = dict(quantized.weights), quantized.activations["image"].step
    for conv in quantized.layers.convs:
        weight, output = weights[conv.name], quantized.activations[conv.name].step
        scale = np.float64(source) * weight.scale / output
        worst = int(scale.argmax())
        if not scale[worst] < LIMIT:
            raise ExportError(
                f"{format} cannot hold {conv.name} in int8: the sums of its channel {worst} would be "
                f"scaled by {scale[worst]:.3g}, XNNPACK takes less than {LIMIT:.0f}; its weights are out of "
                "all proportion to the other channels', check them or quantize for another format"
            )
        weights[conv.name] = _without_faint(weight, scale < LEAST, np.float64(output) / source)
        attended = conv.output_name
        source = quantized.activations[attended].step
    return replace(quantized, weights=weights)


def _without_faint(weight: QuantizedWeight, faint: NDArray[np.bool_], unit: np.float64) -> QuantizedWeight:
    """Zeros where a channel is faint; `unit` is the weight's scale for a sum's scale of 1."""
    if not faint.any():
        return weight
    assert weight.bias is not None
    return replace(
        weight,
        values=np.where(faint[:, None, None, None], np.int8(0), weight.values),
        # Twice the least, which rounding to float32 cannot bring below it.
        scale=np.where(faint, 2 * LEAST * unit, weight.scale).astype(np.float32),
        bias=np.where(faint, np.int32(0), weight.bias),
    )
