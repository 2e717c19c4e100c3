from types import SimpleNamespace

import pytest

from mobileone.errors import ConfigError
from mobileone.task import TASKS, checked_task, task_of


def test_both_tasks_are_known():
    assert [checked_task(task) for task in TASKS] == ["singlelabel", "multilabel"]


@pytest.mark.parametrize("value", ["multi", None, 1, ["multilabel"]])
def test_anything_else_is_refused_with_what_there_is(value):
    with pytest.raises(ConfigError, match="task must be one of singlelabel, multilabel, got"):
        checked_task(value)


def test_the_task_of_what_does_not_say_it():
    assert task_of(SimpleNamespace(task="multilabel")) == "multilabel"
    assert task_of(SimpleNamespace()) == "singlelabel"
