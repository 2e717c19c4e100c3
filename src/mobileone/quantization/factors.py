"""What every channel of a network is divided by before eight bits hold it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mobileone.backends.fused_layers import ConvLayer, FusedLayers, LinearLayer
from mobileone.quantization.equalize import Reader, balance
from mobileone.quantization.ranges import Range, channel_stats, upper_ranges
from mobileone.quantization.rounding import WeightBits
from mobileone.quantization.simulate import float_layer, linear_tensors

# Positions of each photo that `balance` looks at: the loudest, and some of the others.
LOUDEST, OTHERS = 12, 8
TRACED_IMAGES = 16  # back-propagation through more changes little


def choose_factors(
    layers: FusedLayers, x: Tensor, rule: Range, *, weight_bits: WeightBits = 8
) -> list[Tensor]:
    """The factors (C,) of every convolution's output, in the network as it is.

    A depthwise reader has a scale for each channel, so its inputs are divided by their ranges; the factors of
    others are balanced (equalize.py).

    Args:
        layers: the network, its first convolution without padding.
        x: images (N, C, H, W) that it reads, with their border.
        rule: how ranges are chosen; with `mse`, `balance` chooses what to cut off.
        weight_bits: of a weight.
    """
    readers: list[ConvLayer | LinearLayer | None] = [*layers.convs[1:], layers.classifier]
    effects = output_effects(layers, x[:TRACED_IMAGES])
    factors = []
    for conv, reader, importance in zip(layers.convs, readers, effects[1:], strict=True):
        before, x = float_layer(conv, x)
        stats = channel_stats(x)
        signed = conv.attention is not None  # integers hold the sum ahead of the attention, of both signs
        ranges = before.abs().amax((0, 2, 3)).clamp_min(1e-6) if signed else upper_ranges(stats, rule)
        del before
        if reader is None or (isinstance(reader, ConvLayer) and reader.is_depthwise):
            factors.append(ranges)
            continue
        pooled = isinstance(reader, LinearLayer)
        sample, share = (x.transpose(0, 1).flatten(2), torch.ones(1)) if pooled else sampled(x, ranges)
        reading = Reader(
            weight=torch.from_numpy(reader.weight).flatten(1),
            importance=importance,
            ranges=ranges,
            nonzero=stats.nonzero,
            power=sample.mean(2).square().mean(1) if pooled else stats.mean_square,
            sample=sample,
            share=share,
            cuts=rule == "mse" and not signed,
            bits=weight_bits,
        )
        factors.append(balance(reading))
    return factors


def sampled(x: Tensor, ranges: Tensor) -> tuple[Tensor, Tensor]:
    """Some positions of each photo of x (N, C, H, W), as `Reader.sample` (C, N·P, 1) and its `share` (P,).

    The loudest by the channel that is nearest to the end of its range (C,), where cutting off costs most; and
    of the others a few at random, which stand for all of them.
    """
    flat = x.flatten(2)
    order = (flat / ranges[:, None]).amax(1).argsort(1, descending=True)  # (N, H·W)
    loud, rest = order[:, :LOUDEST], order[:, LOUDEST:]
    draw = torch.randperm(rest.shape[1], generator=torch.Generator().manual_seed(0))[:OTHERS]
    chosen = torch.cat([loud, rest[:, draw]], dim=1)
    values = flat.gather(2, chosen[:, None].expand(-1, flat.shape[1], -1))
    share = torch.ones(chosen.shape[1])
    share[LOUDEST:] = rest.shape[1] / max(len(draw), 1)
    return values.transpose(0, 1).flatten(1)[..., None], share / flat.shape[2]


def output_effects(layers: FusedLayers, x: Tensor) -> Sequence[Tensor]:
    """How much every layer's outputs matter: `Reader.importance` (C,), the classifier's last.

    Random signs are propagated back from the logits of a few images x (N, C, H, W): the expected square of
    what arrives is the sum over the logits of squared derivatives.
    """
    outputs = []
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        for conv in layers.convs:
            before, x = float_layer(conv, x)
            before.retain_grad()
            outputs.append(before)
        logits = x.mean((2, 3))
        if layers.classifier is not None:
            logits = F.linear(logits, *linear_tensors(layers.classifier))
        generator = torch.Generator().manual_seed(0)
        if logits.shape[1] > 1:  # what all classes share decides nothing
            logits = logits - logits.mean(1, keepdim=True)
        signs = torch.randint(0, 2, logits.shape, generator=generator) * 2.0 - 1
        (logits * signs).sum().backward()  # type: ignore[no-untyped-call]
    power = logits.square().sum(1).mean().item() or 1.0
    effects = [torch.ones(0) if o.grad is None else o.grad.square().sum((2, 3)).mean(0) for o in outputs]
    return [effect / power for effect in (*effects, torch.ones(logits.shape[1]))]
