"""Ranks that find each other anew, past what dead ones left behind."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from mobileone.errors import TrainingError
from mobileone.ranks.rendezvous import agent_store, rendezvous_name


def test_ranks_meet_though_the_store_remembers_dead_ones() -> None:
    store = dist.HashStore()
    names: list[str] = []
    for _ in range(5):
        with ThreadPoolExecutor(3) as pool:
            order = random.sample(range(3), 3)
            met = list(pool.map(lambda rank: rendezvous_name(store, rank, 3, patience_s=20), order))
        assert len(set(met)) == 1
        names.append(met[0])
    assert len(set(names)) == 5
    with pytest.raises(TrainingError, match="rank 2 waited 0 s in vain for rank 0 to start"):
        rendezvous_name(store, 2, 3, patience_s=0.1)
    with pytest.raises(TrainingError, match="rank 0 waited 0 s in vain for rank 1 to start"):
        rendezvous_name(store, 0, 3, patience_s=0.1)


def test_without_torchrun_s_agent_there_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    assert agent_store(0, 2) is None
