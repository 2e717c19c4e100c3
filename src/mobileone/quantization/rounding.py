"""Weights to integers so that the layer's output, not the weight, changes least.

Rounding each weight to its nearest integer ignores that inputs are correlated. Rounding one input's weights
after the other, and letting the ones not rounded yet make up for the error, is the idea of Optimal Brain
Surgeon (Frantar et al., arXiv 2210.17323, solve it with one Cholesky factor); coordinate descent over the
integers then mends what the order of rounding spoiled.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

WeightBits = Literal[7, 8]
BLOCK = 64
SWEEPS = 2
SHRINKS = torch.linspace(0.7, 1.0, 16)


def largest_weight(bits: WeightBits) -> int:
    """The largest integer of symmetric weights.

    Of seven bits it is 63, and the sum of two products with bytes is at most 2 · 63 · 255 = 32,130: sixteen
    bits hold it, which is how processors without a dot product of bytes add them.
    """
    return (1 << (bits - 1)) - 1


def weight_scales(weight: Tensor, hessian: Tensor, *, bits: WeightBits = 8) -> Tensor:
    """The step of each row: the largest weight over the largest integer, or less where cutting costs less.

    Args:
        weight: (B, R, K).
        hessian: (B, K, K), second moments of the inputs.
        bits: of a weight.

    Returns:
        (B, R), positive.
    """
    importance = hessian.diagonal(dim1=1, dim2=2)[:, None]  # (B, 1, K)
    largest = largest_weight(bits)
    full = weight.abs().amax(2).clamp_min(1e-12) / largest
    best, least = full, torch.full_like(full, torch.inf)
    for shrink in SHRINKS.tolist():
        scale = full * shrink
        rounded = (weight / scale[..., None]).round().clamp(-largest, largest) * scale[..., None]
        error = ((rounded - weight).square() * importance).sum(2)
        best, least = torch.where(error <= least, scale, best), torch.minimum(error, least)
    return best


def round_weights(weight: Tensor, scale: Tensor, hessian: Tensor, *, bits: WeightBits = 8) -> Tensor:
    """Integers that make (q · scale − weight) · hessian · (q · scale − weight)ᵀ small.

    Args:
        weight: (B, R, K), float64: B layers of R rows that read the same K inputs (a depthwise convolution
            is C layers of one row, a pointwise one a single layer).
        scale: (B, R), the step of each row.
        hessian: (B, K, K), positive definite: second moments of the inputs.
        bits: of a weight.

    Returns:
        (B, R, K), integers up to `largest_weight` with either sign, float64.
    """
    largest = largest_weight(bits)
    order = hessian.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True)  # (B, K): loudest first
    back = order.argsort(dim=1)
    k = weight.shape[2]
    rows = order[:, None].expand(weight.shape)
    left = weight.gather(2, rows)
    moments = hessian.gather(1, order[:, :, None].expand(-1, -1, k)).gather(
        2, order[:, None].expand(-1, k, -1)
    )
    factor = torch.linalg.cholesky(torch.linalg.inv(moments), upper=True)
    target, steps = left.clone(), scale[..., None]
    integers = torch.empty_like(left)
    for start in range(0, k, BLOCK):  # the same sums column by column would wait for memory
        block = slice(start, min(start + BLOCK, k))
        errors = torch.empty_like(left[..., block])
        for j in range(start, block.stop):
            integers[..., j] = (left[..., j] / scale).round().clamp(-largest, largest)
            error = (left[..., j] - integers[..., j] * scale) / factor[:, None, j, j]
            left[..., j + 1 : block.stop] -= error[..., None] * factor[:, None, j, j + 1 : block.stop]
            errors[..., j - start] = error
        left[..., block.stop :] -= errors @ factor[:, block, block.stop :]
    gradient = (integers * steps - target) @ moments
    for start in [*range(0, k, BLOCK)] * SWEEPS:
        block = slice(start, min(start + BLOCK, k))
        local, before = gradient[..., block].clone(), integers[..., block].clone()
        for j in range(start, block.stop):
            wanted = integers[..., j] * scale - local[..., j - start] / moments[:, None, j, j]
            moved = (wanted / scale).round().clamp(-largest, largest)
            change = (moved - integers[..., j]) * scale
            integers[..., j] = moved
            local += change[..., None] * moments[:, None, j, block]
        gradient += ((integers[..., block] - before) * steps) @ moments[:, block]
    return integers.gather(2, back[:, None].expand(weight.shape))
