"""Every group of input channels is taken once, and none as bytes whose sums could saturate."""

import numpy as np
import pytest

from mobileone.backends.c.packing import pack_panels
from mobileone.backends.c.pair_order import COUNTS, pair_orders


def panels_of(weight, groups):
    zeros = np.zeros(len(weight), np.int32)
    return pack_panels(weight, zeros, zeros.astype(np.float32), groups=groups)


def columns_of(panel):
    """The weights of each column, (groups, lanes, four), in the kernels' order."""
    weights = panel.layer.weights.reshape(panel.blocks, panel.groups, panel.vectors, 16, 4)
    for block in weights:
        for vector in range(0, panel.vectors, 2):
            for lane in (0, 8):
                yield block[:, vector : vector + 2, lane : lane + 8].reshape(panel.groups, -1, 4)


def sums_saturate(groups):
    """Whether a sum of 16 bits can, over pairs of all these groups (count, lanes, four)."""
    pairs = groups.astype(int).reshape(*groups.shape[:2], 2, 2)
    most = 255 * pairs.clip(0).sum((0, 3)).max()
    least = 255 * pairs.clip(None, 0).sum((0, 3)).min()
    return most > 2**15 - 1 or least < -(2**15)


@pytest.mark.parametrize(("out", "inputs"), [(16, 12), (48, 64), (80, 300), (7, 4)])
@pytest.mark.parametrize("spread", [5, 30, 127])
def test_nothing_that_is_taken_as_bytes_saturates(out, inputs, spread):
    weight = np.random.default_rng(out).normal(0, spread, (out, inputs)).clip(-128, 127).astype(np.int8)
    for panel in panels_of(weight, inputs // 4):
        orders = pair_orders(panel)
        columns = list(columns_of(panel))
        assert orders.shape == (len(columns), COUNTS + panel.groups)
        for (twos, ones, *order), column in zip(orders.tolist(), columns, strict=True):
            assert sorted(order) == list(range(panel.groups))
            for i in range(0, 2 * twos, 2):
                assert not sums_saturate(column[order[i : i + 2]])
            for i in range(2 * twos, 2 * twos + ones):
                assert not sums_saturate(column[order[i : i + 1]])
            for i in range(2 * twos + ones, panel.groups):
                assert sums_saturate(column[order[i : i + 1]])


def test_small_weights_are_all_taken_in_twos():
    (panel,) = panels_of(np.full((32, 40), 32, np.int8), 10)
    assert pair_orders(panel)[:, :COUNTS].tolist() == [[5, 0], [5, 0]]
    (panel,) = panels_of(np.full((32, 40), -33, np.int8), 10)
    assert pair_orders(panel)[:, :COUNTS].tolist() == [[0, 10], [0, 10]]
    (panel,) = panels_of(np.full((32, 40), 65, np.int8), 10)
    assert pair_orders(panel)[:, :COUNTS].tolist() == [[0, 0], [0, 0]]


def test_the_smallest_weight_of_all_counts():
    """-128 once is 32640 below zero, twice is too much."""
    weight = np.zeros((16, 4), np.int8)
    weight[3, 0] = -128
    (panel,) = panels_of(weight, 1)
    assert pair_orders(panel)[:, :COUNTS].sum() == 2
    weight[3, 1] = -1
    (panel,) = panels_of(weight, 1)
    assert pair_orders(panel)[:, :COUNTS].sum() == 1
