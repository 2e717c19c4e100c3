"""Float against int8: how often they agree, how large the error is, and which layers it comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mobileone.backends.fused_layers import PIXEL_MAX, ConvLayer
from mobileone.backends.quantized_network import INT8_MAX, INT8_MIN, Int8Encoding, QuantizedNetwork
from mobileone.evaluation.metrics import top1_agreement, topk_correct
from mobileone.quantization.simulate import (
    bordered,
    float_layer,
    integer_layer,
    integer_outputs,
    linear_tensors,
)

NUM_TRACED = 8
NOISY_DB = 10.0
"""Below it a layer is said to be noisy: a tenth of its output's power is noise.

Of S0's files, those whose logits have 11 dB name another class than float for one photo in eleven, those with
15 for one in 22, ours with 19 for one in 50 (benchmarks/results/int8_accuracy.txt).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """What one convolution's integers cost.

    Attributes:
        name: of the layer.
        kind: `dense`, `depthwise` or `pointwise`.
        sqnr_db: signal over quantisation noise at its output with everything before it in int8, dB.
        logit_share: its part of the noise in the logits, each layer quantised alone, in [0, 1].
    """

    name: str
    kind: str
    sqnr_db: float
    logit_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Comparison:
    """Two networks on the same images.

    Attributes:
        num_images: how many.
        agreement: share whose first class is the same, percent.
        sqnr_db: of the logits, their mean over the classes taken out, dB.
        float_acc1: top-1 of the float network, percent; None without labels, as the next three.
        int8_acc1: top-1 of the int8 network.
        float_acc5: top-5 of the float network.
        int8_acc5: top-5 of the int8 network.
    """

    num_images: int
    agreement: float
    sqnr_db: float
    float_acc1: float | None = None
    int8_acc1: float | None = None
    float_acc5: float | None = None
    int8_acc5: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def sqnr_db(signal: Tensor, got: Tensor) -> float:
    """Power of the signal over that of the difference, dB; at most 200.

    >>> round(sqnr_db(torch.tensor([10.0]), torch.tensor([11.0])), 1)
    20.0
    """
    noise = (got - signal).double().square().sum().item()
    power = signal.double().square().sum().item()
    return min(10 * math.log10(max(power, 1e-30) / max(noise, 1e-30)), 200.0)


def compare_logits(expected: Tensor, got: Tensor, labels: Tensor | None = None) -> Int8Comparison:
    """The float network's logits (N, classes) against the int8 network's."""
    n = len(expected)
    result = Int8Comparison(
        num_images=n,
        agreement=100 * top1_agreement(expected, got),
        sqnr_db=sqnr_db(expected - expected.mean(1, keepdim=True), got - got.mean(1, keepdim=True)),
    )
    if labels is None:
        return result
    right = [(100 * topk_correct(logits, labels) / n).tolist() for logits in (expected, got)]
    (float1, float5), (int1, int5) = right
    return replace(result, float_acc1=float1, float_acc5=float5, int8_acc1=int1, int8_acc5=int5)


@torch.no_grad()
def trace_errors(quantized: QuantizedNetwork, pixels: Tensor) -> Sequence[LayerError]:
    """Where the error arises, on a few images.

    A mean error of a channel is not counted, because calibration takes it out in the next layer's bias.

    Args:
        quantized: the network.
        pixels: uint8 (N, C, H, W); the first 8 are used.
    """
    pixels = pixels[:NUM_TRACED]
    first, *others = quantized.layers.convs
    convs = (replace(first, padding=(0, 0)), *others)
    inputs = [bordered(quantized, pixels) / PIXEL_MAX]
    for conv in convs:
        inputs.append(float_layer(conv, inputs[-1])[1])
    expected = _logits(quantized, inputs[-1])
    accumulated = [
        sqnr_db(wanted, integers * encoding.step)
        for wanted, (_, integers, encoding) in zip(
            inputs[1:], integer_outputs(quantized, pixels), strict=True
        )
    ]
    source, noises = quantized.activations["image"], []
    for index, conv in enumerate(convs):
        integers, output = integer_layer(quantized, conv, to_integers(inputs[index], source), source)
        x = integers * output.step
        x -= (x - inputs[index + 1]).mean((0, 2, 3), keepdim=True)  # the next layer's bias makes up for it
        for later in convs[index + 1 :]:
            x = float_layer(later, x)[1]
        noises.append((_logits(quantized, x) - expected).double().square().sum().item())
        source = output
    total = max(sum(noises), 1e-30)
    return tuple(
        LayerError(name=conv.name, kind=_kind(conv), sqnr_db=db, logit_share=noise / total)
        for conv, db, noise in zip(convs, accumulated, noises, strict=True)
    )


def noisy_layer(layers: Sequence[LayerError], num_images: int, *, enough: int) -> str | None:
    """What is to be said of the worst layer, where few images may be why integers cost it much; else None.

    Args:
        layers: of the network, at least one.
        num_images: that it was calibrated on.
        enough: how many images usually do; with these, more of them hardly help.
    """
    worst = min(layers, key=lambda layer: layer.sqnr_db)
    if worst.sqnr_db >= NOISY_DB or num_images >= enough:
        return None
    return (
        f"calibrated on {num_images} photos, layer {worst.name} keeps {worst.sqnr_db:.1f} dB of signal over "
        f"noise, less than {NOISY_DB:g}: take more of what the network will see, {enough} as a rule, "
        "and compare with float on others"
    )


def to_integers(x: Tensor, encoding: Int8Encoding) -> Tensor:
    """Reals as the integers that stand for them, less their zero point."""
    low, high = INT8_MIN - encoding.zero_point, INT8_MAX - encoding.zero_point
    return (x / encoding.step).round_().clamp_(low, high)


def _logits(quantized: QuantizedNetwork, features: Tensor) -> Tensor:
    pooled = features.mean((2, 3))
    classifier = quantized.layers.classifier
    return pooled if classifier is None else torch.nn.functional.linear(pooled, *linear_tensors(classifier))


def _kind(conv: ConvLayer) -> str:
    if conv.is_depthwise:
        return "depthwise"
    return "pointwise" if conv.weight.shape[2:] == (1, 1) else "dense"
