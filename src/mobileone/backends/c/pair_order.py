"""Which products of bytes may be summed in 16 bits, for processors whose dot products of bytes saturate.

A pair of products, an unsigned byte times a signed one each, is a sum of 16 bits. It cannot saturate where
the pair's positive weights are at most 128 together, and its negative ones too: 255 · 128 fits. That is a
matter of the weights alone, so the order of computing is a constant: first two groups of four input channels
whose pairs may be added to one another before they are widened, then groups that are widened at once, then
those that want products of 16 bits from the start.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.c.packing import PackedPanel

MOST_WEIGHT = 128  # of one sign in a sum of 16 bits: 255 times it fits
SLICE = 8  # lanes of a vector
PARTNERS = 64  # groups among which one looks for another; all with all takes long in wide layers
COUNTS = 2  # in front of an order: how many twos, how many ones


def pair_orders(panel: PackedPanel) -> NDArray[np.uint16]:
    """(columns, 2 + groups): for each column that a kernel computes at a time, in its order.

    A column is a slice of 8 lanes of two vectors, of one where a block has one more. Its numbers are how many
    twos and ones it has, then the groups' numbers.
    """
    blocks, groups, vectors = panel.blocks, panel.groups, panel.vectors
    weights = panel.layer.weights.reshape(blocks, groups, vectors, -1, SLICE, 2, 2)
    parts = [weights.clip(0), -np.minimum(weights, 0, dtype=np.int16)]
    sums = np.stack([part.sum(-1, dtype=np.int16) for part in parts], 2)  # (blocks, groups, sign, vectors, …)
    spans = [(at, min(at + 2, vectors)) for at in range(0, vectors, 2)]
    columns = [
        sums[block, :, :, begin:end, part].reshape(groups, -1)
        for block in range(blocks)
        for begin, end in spans
        for part in range(weights.shape[3])
    ]
    return np.stack([_order(column) for column in columns])


def _order(sums: NDArray[np.int16]) -> NDArray[np.uint16]:
    """One column's, of the weights that each group adds to each sum of 16 bits (groups, sums)."""
    exact = np.asarray((sums <= MOST_WEIGHT).all(1))
    candidates = np.flatnonzero(exact)
    candidates = candidates[np.argsort(sums[candidates].sum(1), kind="stable")]
    parts = -(-len(candidates) // PARTNERS)
    chosen = [some[_twos(sums[some])] for some in (candidates[part::parts] for part in range(parts))]
    twos = np.concatenate([np.zeros(0, np.intp), *chosen])
    others = np.setdiff1d(np.arange(len(sums)), twos)
    order = np.concatenate([twos, others[exact[others]], others[~exact[others]]])
    counts = len(twos) // 2, int(exact[others].sum())
    return np.concatenate([counts, order]).astype(np.uint16)


def _twos(sums: NDArray[np.int16]) -> NDArray[np.intp]:
    """Groups that fit, two after two."""
    fits = np.asarray((sums[:, None] <= MOST_WEIGHT - sums).all(-1))
    np.fill_diagonal(fits, val=False)
    hardest = np.argsort(fits.sum(1), kind="stable")  # those that fit few others choose first, and such
    fits = fits[np.ix_(hardest, hardest)]
    twos: list[int] = []
    for i in range(len(hardest)):
        j = int(fits[i].argmax())
        if fits[i, j]:
            twos += [i, j]
            fits[:, [i, j]] = False
            fits[[i, j]] = False
    return hardest[np.array(twos, np.intp)]
