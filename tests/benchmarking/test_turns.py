"""Who runs when and how often, by hand."""

from itertools import pairwise

import pytest

from mobileone.benchmarking.turns import ROUNDS, interleave, split_runs, timed_runs


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
