"""What this machine is called, and which cores this process may use."""

import builtins
import os
import platform

import pytest

from mobileone.processor import num_cores, processor_name, usable_cores


def test_cores_are_those_of_this_process():
    cores = usable_cores()
    assert cores == sorted(set(cores))
    assert 1 <= num_cores() == len(cores) <= os.cpu_count()


@pytest.mark.skipif("not hasattr(__import__('os'), 'sched_setaffinity')")
def test_a_confined_process_sees_its_own_cores_alone():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        assert usable_cores() == [max(before)]
    finally:
        os.sched_setaffinity(0, before)


def test_a_system_that_confines_nobody_has_all_cores(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores() == [0, 1, 2]
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == [0]


def test_there_is_a_name_even_where_the_system_has_no_file_of_it(monkeypatch):
    assert processor_name()

    def refuse(*_arguments, **_options):
        raise FileNotFoundError

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert processor_name() == "riscv64"
