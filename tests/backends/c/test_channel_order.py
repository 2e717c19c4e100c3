"""Channels in another order: the same integers, and neighbours whose weights go together."""

from dataclasses import replace

import numpy as np

from mobileone.backends.c.channel_order import best_order, order_channels
from mobileone.backends.c.integers import run_integers


def test_the_network_stays_the_same(little, noise):
    ordered = order_channels(little)
    assert any(
        not np.array_equal(ordered.weights[name].values, weight.values)
        for name, weight in little.weights.items()
    )
    for image in noise(little):
        wanted, given = run_integers(little, image), run_integers(ordered, image)
        np.testing.assert_array_equal(given.outputs, wanted.outputs)
        assert given.digest == wanted.digest


def test_maps_that_are_an_output_or_before_an_attention_keep_their_order(make_network):
    free = make_network((16, 24, 32, 40))
    convs = free.layers.convs
    named = replace(free, layers=replace(free.layers, features=(convs[2].name,)))
    bound = make_network((16, 24, 32, 40), se_blocks=(1, 1, 1, 1))

    def moved(before):
        after = order_channels(before).weights
        return [
            conv.name
            for conv in convs[::2]
            if not np.array_equal(
                np.sort(before.weights[conv.name].values.reshape(conv.out_channels, -1).sum(1)),
                before.weights[conv.name].values.reshape(conv.out_channels, -1).sum(1),
            )
            and not np.array_equal(
                after[conv.name].values.reshape(conv.out_channels, -1).sum(1),
                before.weights[conv.name].values.reshape(conv.out_channels, -1).sum(1),
            )
        ]

    assert moved(free) == [conv.name for conv in convs[:-1:2]]
    assert moved(named) == [conv.name for conv in convs[:-1:2] if conv.name != convs[2].name]
    assert moved(bound) == []


def test_large_weights_get_small_ones_beside_them():
    weight = np.random.default_rng(0).normal(0, 30, (64, 128)).clip(-127, 127).astype(np.int8)

    def too_large(matrix):
        pairs = matrix.astype(int).reshape(64, -1, 2)
        return int(((pairs.clip(0).sum(2) > 128) | (pairs.clip(None, 0).sum(2) < -128)).sum())

    order = best_order(weight)
    assert sorted(order.tolist()) == list(range(128))
    assert too_large(weight[:, order]) < too_large(weight) / 5


def test_an_odd_channel_comes_last():
    order = best_order(np.random.default_rng(0).integers(-127, 128, (16, 7)).astype(np.int8))
    assert sorted(order.tolist()) == list(range(7))
    assert best_order(np.zeros((4, 1), np.int8)).tolist() == [0]
