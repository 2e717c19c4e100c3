"""Percentiles and intervals, by hand."""

import pytest

from mobileone.benchmarking.latency import Latency, median_interval, percentile


def test_a_latency_by_hand():
    latency = Latency(((0.004, 0.002), (0.003, 0.010), (0.001, 0.005)), batch_size=8)
    assert latency.num_runs == 6
    assert latency.median_ms == pytest.approx(3.5)
    assert latency.p90_ms == pytest.approx(10.0)  # ⌈5.4⌉ = 6th of 6
    assert latency.min_ms == pytest.approx(1.0)
    assert latency.images_per_s == pytest.approx(8 / 0.0035)
    assert latency.interval_ms == pytest.approx((3.0, 6.5))  # all of the rounds' medians 3, 6.5, 3


@pytest.mark.parametrize(
    ("percent", "wanted"), [(0, 1), (10, 1), (11, 2), (50, 5), (90, 9), (91, 10), (100, 10)]
)
def test_percentiles_are_nearest_ranks(percent, wanted):
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == wanted


def test_the_interval_of_twenty_rounds_is_ranks_5_to_16():
    # 10 ± 1.96 · √20 / 2 = 5.6 and 14.4: rank 5 below and rank 15 + 1 above.
    assert median_interval(range(1, 21)) == (5, 16)
    assert median_interval([7.0]) == (7.0, 7.0)


def test_the_interval_holds_the_median_as_often_as_it_says():
    import random

    draw = random.Random(0)
    hits = 0
    for _ in range(400):
        low, high = median_interval([draw.gauss(5, 1) for _ in range(20)])
        hits += low <= 5 <= high
    assert hits / 400 > 0.93
