"""Percentiles, intervals and schedules, by hand."""

from itertools import pairwise

import pytest

from mobileone.benchmarking.latency import Latency, median_interval, percentile
from mobileone.benchmarking.turns import ROUNDS, interleave, split_runs, timed_runs


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


def test_runs_within_a_budget():
    assert timed_runs(wanted=200, batch_size=1, run_s=100, budget_s=1) == 200
    assert timed_runs(wanted=200, batch_size=2, run_s=0.001, budget_s=10) == 200
    assert timed_runs(wanted=3, batch_size=2, run_s=100, budget_s=1) == 3


@pytest.mark.parametrize("runs", [1, 5, 19, 20, 21, 199, 200, 1000])
def test_runs_are_split_evenly(runs):
    rounds = split_runs(runs)
    assert sum(rounds) == runs
    assert len(rounds) == min(runs, ROUNDS)
    assert max(rounds) - min(rounds) <= 1


def test_candidates_take_turns_in_rounds_and_in_random_order():
    turns = interleave({0: 200, 1: 200, 2: 40}, seed=1)
    assert [sum(n for who, n in turns if who == each) for each in range(3)] == [200, 200, 40]
    rounds = [turns[i : i + 3] for i in range(0, len(turns), 3)]
    assert all(sorted(who for who, _ in each) == [0, 1, 2] for each in rounds)
    assert len({tuple(who for who, _ in each) for each in rounds}) > 3, "the order changes"
    assert turns == interleave({0: 200, 1: 200, 2: 40}, seed=1)
    assert turns != interleave({0: 200, 1: 200, 2: 40}, seed=2)


def test_few_runs_are_spread_over_all_rounds():
    turns = interleave({0: 200, 1: 5}, seed=0)
    places = [i for i, (who, _) in enumerate(turns) if who == 1]
    assert len(places) == 5
    assert places[0] > 2
    assert places[-1] > 20
    assert min(b - a for a, b in pairwise(places)) >= 3
