"""Which channels lie beside one another between two layers: those whose weights go together as bytes.

The order of a map's channels is nobody's concern but that of the layers around it, and any gives the same
integers. Where dot products of bytes saturate, two neighbours' weights must not reach 128 together, in any
output channel (`pair_order`): a channel with a large weight wants one with a small weight there beside it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.c.pair_order import MOST_WEIGHT
from mobileone.backends.fused_layers import ConvLayer
from mobileone.backends.quantized_network import QuantizedNetwork


def order_channels(quantized: QuantizedNetwork) -> QuantizedNetwork:
    """The same network with every map's channels in the best order for the matrix product that reads it.

    Maps that are an output, and those around an attention, stay as they are.
    """
    convs, weights = list(quantized.layers.convs), dict(quantized.weights)

    def take(index: int, order: NDArray[np.intp], *, axis: int) -> None:
        conv = convs[index]
        weight = weights[conv.name]
        if axis == 0:
            convs[index] = replace(conv, weight=conv.weight[order], bias=conv.bias[order])
            bias = None if weight.bias is None else weight.bias[order]
            weights[conv.name] = replace(
                weight, values=weight.values[order], scale=weight.scale[order], bias=bias
            )
        else:
            convs[index] = replace(conv, weight=conv.weight[:, order])
            weights[conv.name] = replace(weight, values=weight.values[:, order])

    def is_bound(conv: ConvLayer) -> bool:
        return conv.attention is not None or conv.name in quantized.layers.features

    for last in range(len(convs) - 1, 1, -2):  # what a layer's outputs are ordered by comes first
        if is_bound(convs[last - 2]) or is_bound(convs[last - 1]):
            continue
        order = best_order(weights[convs[last].name].values[:, :, 0, 0])
        take(last - 2, order, axis=0)
        take(last - 1, order, axis=0)
        take(last, order, axis=1)
    return replace(quantized, layers=replace(quantized.layers, convs=tuple(convs)), weights=weights)


def best_order(weight: NDArray[np.int8]) -> NDArray[np.intp]:
    """The input channels of a matrix (out, in), two that go well together after two, the worst first.

    >>> best_order(np.array([[100, 90, 3, 2]], np.int8)).tolist()
    [0, 2, 1, 3]
    """
    clashes = _clashes(weight)
    number = len(clashes)
    left = np.ones(number, bool)
    pairs, alone = [], []
    for i in np.argsort(-clashes.sum(1), kind="stable").tolist():
        if not left[i]:
            continue
        left[i] = False
        others = np.flatnonzero(left)
        if len(others) == 0:
            alone = [i]
            break
        with_i = clashes[i, others]
        best = others[with_i == with_i.min()]
        j = int(best[clashes[best].sum(1).argmax()])  # who is harder to find a partner for
        left[j] = False
        pairs.append((int(clashes[i, j]), i, j))
    pairs.sort(key=lambda pair: -pair[0])
    return np.array([each for _, i, j in pairs for each in (i, j)] + alone, np.intp)


def _clashes(weight: NDArray[np.int8]) -> NDArray[np.int32]:
    """(in, in): for how many output channels two inputs' weights are too large together.

    Two that are both above half count twice, which is no harm.
    """
    number = weight.shape[1]
    clashes = np.zeros((number, number), np.int32)
    for sign in (1, -1):
        sizes = (sign * weight.T.astype(np.int16)).clip(0).astype(np.uint8)
        for i, own in enumerate(sizes):
            large = np.flatnonzero(own > MOST_WEIGHT // 2)
            clashes[i] += (sizes[:, large] > MOST_WEIGHT - own[large]).sum(1, dtype=np.int32)
    clashes += clashes.T.copy()
    np.fill_diagonal(clashes, 0)
    return clashes
