"""Rare classes come more often, exactly, whatever the ranks and wherever an epoch is taken up."""

import numpy as np
import pytest
import torch

from mobileone.data.augment import TrainTransform
from mobileone.data.loader import train_loader
from mobileone.data.requests import TrainRequests
from mobileone.data.sampling import WeightedOrder, epoch_order, image_weights
from mobileone.errors import ConfigError

LABELS = np.repeat([0, 1, 2], [60, 25, 5])


def drawn(sampling, seed=0, beta=0.9):
    weights = image_weights(LABELS, 3, sampling=sampling, beta=beta)
    order = WeightedOrder(weights, LABELS)(torch.Generator().manual_seed(seed))
    return order.numpy()


def test_balanced_classes_come_equally_often_and_no_image_far_more_than_another():
    for seed in range(5):
        order = drawn("balanced", seed)
        assert np.bincount(LABELS[order]).tolist() == [30, 30, 30]
        times = np.bincount(order, minlength=90)
        assert set(times[:60]) <= {0, 1}
        assert set(times[60:85]) <= {1, 2}
        assert set(times[85:]) == {6}


def test_the_effective_number_lies_between_and_ends_at_both():
    counts = np.array([60, 25, 5])
    numbers = (1 - 0.9**counts) / 0.1
    wanted = 90 * (counts / numbers) / (counts / numbers).sum()
    assert np.abs(np.bincount(LABELS[drawn("effective")]) - wanted).max() <= 1
    assert np.bincount(LABELS[drawn("effective", beta=0.0)]).tolist() == [60, 25, 5]
    assert np.bincount(LABELS[drawn("effective", beta=1 - 1e-9)]).tolist() == [30, 30, 30]


def test_an_image_of_several_labels_counts_as_its_rarest():
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], bool)
    assert image_weights(labels, 2, sampling="balanced").round(3).tolist() == [0.333, 0.333, 1.0, 0.333]
    assert image_weights(np.zeros((2, 2), bool), 2, sampling="balanced").tolist() == [1.0, 1.0]


def test_another_epoch_is_another_draw_and_the_same_one_the_same():
    assert np.array_equal(drawn("balanced", 3), drawn("balanced", 3))
    assert set(drawn("balanced", 3)[:60]) != set(drawn("balanced", 4)[:60])


def test_ranks_and_a_middle_of_an_epoch_share_one_order():
    transform = TrainTransform(size=16)
    order = WeightedOrder(image_weights(LABELS, 3, sampling="balanced"), LABELS)

    def steps(rank, world_size, start=0):
        requests = TrainRequests(90, transform, 12 // world_size, 0, rank, world_size, 12, order)
        requests.epoch, requests.start = 2, start
        return [request.indices for request in requests]

    alone = steps(0, 1)
    shared = [sorted(one + other) for one, other in zip(steps(0, 2), steps(1, 2), strict=True)]
    assert shared == [sorted(step) for step in alone]
    assert steps(0, 1, start=4) == alone[4:]
    assert all(not request.soon for request in TrainRequests(90, transform, 12, 0, 0, 1, 12, order))


def test_the_loader_takes_it(flat_folder):
    from mobileone.data.folder import find_images

    source = find_images(flat_folder, split="val")
    loader = train_loader(source, TrainTransform(size=16), batch_size=13, seed=0, sampling="balanced")
    (batch,) = loader
    assert sorted(np.bincount(batch.labels.numpy()).tolist()) == [4, 4, 5]


def test_shards_that_come_in_their_own_order_are_refused():
    class Streamed:
        classes, labels = ("a",), np.zeros(2, np.int64)

        def epoch_order(self, generator): ...
        def expect(self, indices): ...
        def name(self, index): ...
        def read(self, index): ...
        def __len__(self):
            return 2

    with pytest.raises(ConfigError, match="sampling=balanced reads images in any order"):
        epoch_order(Streamed(), sampling="balanced")
