"""Who runs when, and how often. Imports no torch."""

from __future__ import annotations

import random
from math import ceil

ROUNDS = 20
MIN_RUNS = 5  # of a batch so large that the time budget does not reach


def timed_runs(*, wanted: int, batch_size: int, run_s: float, budget_s: float) -> int:
    """How many runs a candidate gets: at batch 1 all that are wanted, else what the budget allows.

    >>> timed_runs(wanted=200, batch_size=1, run_s=1.0, budget_s=10)
    200
    >>> timed_runs(wanted=200, batch_size=64, run_s=0.5, budget_s=10)
    20
    >>> timed_runs(wanted=200, batch_size=64, run_s=9.0, budget_s=10)
    5
    """
    if batch_size == 1:
        return wanted
    return min(wanted, max(MIN_RUNS, int(budget_s / run_s)))


def split_runs(runs: int) -> list[int]:
    """Runs in each round: at most 20 rounds, as even as can be, the larger ones first.

    >>> split_runs(200) == [10] * 20, split_runs(5), sum(split_runs(43)), split_runs(43)[:4]
    (True, [1, 1, 1, 1, 1], 43, [3, 3, 3, 2])
    """
    rounds = min(ROUNDS, runs)
    return [ceil((runs - done) / rounds) for done in range(rounds)]


def interleave(runs: dict[int, int], *, seed: int) -> list[tuple[int, int]]:
    """(candidate, runs) in order: round after round, in each round every candidate once, shuffled.

    Candidates with fewer rounds are spread over all of them.

    >>> interleave({0: 40, 1: 40}, seed=0)[:4]
    [(0, 2), (1, 2), (0, 2), (1, 2)]
    """
    order = random.Random(seed)
    bursts = {candidate: split_runs(number) for candidate, number in runs.items()}
    done = dict.fromkeys(runs, 0)
    turns = []
    for round_number in range(1, ROUNDS + 1):
        due = [
            candidate
            for candidate, own in bursts.items()
            if done[candidate] < round_number * len(own) // ROUNDS
        ]
        order.shuffle(due)
        for candidate in due:
            turns.append((candidate, bursts[candidate][done[candidate]]))
            done[candidate] += 1
    return turns
