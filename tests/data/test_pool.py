"""Work spread over processes."""

import os
from functools import partial

import pytest

from mobileone.data.pool import in_processes
from mobileone.errors import BadImageError, ConfigError, DataError


def times(factor, item):
    return factor * item, os.getpid()


def refuse(item):
    if item == 3:
        raise BadImageError("3: it is broken")
    return item


def die(item):
    os._exit(1)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_order(workers):
    results = list(in_processes(partial(times, 10), range(20), num_workers=workers))
    assert [value for value, _ in results] == [10 * i for i in range(20)]
    assert ({pid for _, pid in results} == {os.getpid()}) == (workers == 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_arrives_as_it_was_raised(workers):
    with pytest.raises(BadImageError, match=r"^3: it is broken$"):
        list(in_processes(refuse, range(20), num_workers=workers))


def test_a_dead_process_is_one_error():
    with pytest.raises(DataError, match="a worker process died"):
        list(in_processes(die, range(4), num_workers=1))


def test_nothing_to_do_and_a_wrong_number():
    assert list(in_processes(refuse, [], num_workers=2)) == []
    with pytest.raises(ConfigError, match="workers"):
        list(in_processes(refuse, [1], num_workers=-1))
