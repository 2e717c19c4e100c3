"""What an evaluation measures, by name, for each task. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from mobileone.task import Task

METRICS: Mapping[Task, tuple[str, ...]] = {
    "singlelabel": ("acc1", "acc5", "macro_f1", "balanced_acc"),
    "multilabel": ("map", "macro_f1", "micro_f1", "subset_acc"),
}
"""Figures of the whole set, in percent, more is better; the first is what the best epoch is chosen by."""

CLASS_METRICS: Mapping[Task, tuple[str, ...]] = {"singlelabel": ("recall",), "multilabel": ("ap", "f1")}
"""Figures of one class, `recall/cat`, likewise."""

TITLES: Mapping[str, str] = {
    "acc1": "acc@1",
    "acc5": "acc@5",
    "macro_f1": "macro F1",
    "balanced_acc": "balanced acc",
    "map": "mAP",
    "micro_f1": "micro F1",
    "subset_acc": "subset acc",
    "recall": "recall",
    "ap": "AP",
    "f1": "F1",
    "loss": "loss",
}
"""How people call them."""


def class_metric(kind: str, class_name: str) -> str:
    """The name of a figure of one class.

    >>> class_metric("recall", "cat")
    'recall/cat'
    """
    return f"{kind}/{class_name}"


def kind_and_class(name: str) -> tuple[str, str | None]:
    """What a name says: the figure, and the class if it is that of one.

    >>> kind_and_class("recall/a/b"), kind_and_class("map")
    (('recall', 'a/b'), ('map', None))
    """
    kind, slash, class_name = name.partition("/")
    return kind, class_name if slash else None


def title_of(name: str) -> str:
    """A figure's name for people.

    >>> title_of("recall/cat"), title_of("map")
    ('recall of cat', 'mAP')
    """
    kind, class_name = kind_and_class(name)
    return TITLES[kind] if class_name is None else f"{TITLES[kind]} of {class_name}"


def is_selectable(name: str, task: Task) -> bool:
    """Whether the best epoch of such a run can be chosen by it: of `METRICS`, `loss`, or one class's.

    >>> is_selectable("map", "singlelabel"), is_selectable("recall/cat", "singlelabel")
    (False, True)
    """
    kind, class_name = kind_and_class(name)
    if class_name is None:
        return name == "loss" or name in METRICS[task]
    return kind in CLASS_METRICS[task] and bool(class_name)
