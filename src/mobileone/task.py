"""What a network's outputs say of an image: one class of many, or any number of labels. Imports no torch."""

from __future__ import annotations

from typing import Literal, get_args

from mobileone.errors import ConfigError

Task = Literal["singlelabel", "multilabel"]
"""`"singlelabel"`: one class an image, probabilities by softmax. `"multilabel"`: any number of labels an
image, each with a probability of its own, by sigmoid."""

TASKS: tuple[Task, ...] = get_args(Task)


def checked_task(value: object) -> Task:
    """A task as a file or a caller gives it.

    Raises:
        ConfigError: if it is none.

    >>> checked_task("multilabel")
    'multilabel'
    """
    for task in TASKS:
        if value == task:
            return task
    raise ConfigError(f"task must be one of {', '.join(TASKS)}, got {value!r:.40}")


def task_of(model: object) -> Task:
    """The task of a network, a classifier, or whatever says it; `"singlelabel"` of one that does not.

    >>> task_of(object())
    'singlelabel'
    """
    return checked_task(getattr(model, "task", "singlelabel"))
