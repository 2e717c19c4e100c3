"""How quiet the machine was."""

import os

import pytest

from mobileone.benchmarking import noise as noise_module
from mobileone.benchmarking.noise import SPINS_AT_ONCE, Noise, load_average, spin_ms

from .conftest import CORE


def test_noise_by_hand():
    quiet = Noise([0, 1], load_before=0.1, spins_ms={0: [1.0, 1.01, 1.02], 1: [2.0, 2.0, 2.1]})
    assert quiet.spread == pytest.approx(0.05)
    assert quiet.typical == pytest.approx(0.01)
    assert quiet.warning is None
    busy = Noise([0], load_before=1.5, spins_ms={0: [1.0, 1.0, 1.3]})
    assert "load average 1.50" in busy.warning
    assert "took 30 % longer or more" in busy.warning
    assert spin_ms() > 0


def test_every_core_is_watched_and_the_thread_put_back(monkeypatch):
    where = []
    monkeypatch.setattr(noise_module, "spin_ms", lambda: where.append(allowed()) or 1.0)
    before = allowed()
    noise = Noise(CORE)
    noise.watch()
    noise.watch()
    assert len(noise.spins_ms[CORE[0]]) == 2 * SPINS_AT_ONCE, "the first spins of each time wake the core"
    assert (noise.spread, noise.typical) == (0, 0)
    assert allowed() == before
    if before:
        assert set(where) == {(CORE[0],)}


def allowed():
    """Cores that this thread may use; none where the system does not tell."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def test_an_unwatched_machine_is_quiet_and_an_unknown_load_no_reason():
    noise = Noise([0], load_before=None)
    assert (noise.spread, noise.warning) == (0, None)
    assert noise.to_dict()["load_before"] is None


def test_a_system_without_a_load_average(monkeypatch):
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert load_average() is None
