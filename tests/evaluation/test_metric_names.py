import pytest

from mobileone.evaluation.metric_names import CLASS_METRICS, METRICS, TITLES, is_selectable, title_of
from mobileone.task import TASKS


def test_every_figure_has_a_title():
    for task in TASKS:
        assert {*METRICS[task], *CLASS_METRICS[task]} <= TITLES.keys()
    assert title_of("f1/red hat") == "F1 of red hat"


@pytest.mark.parametrize(
    ("name", "task", "is_known"),
    [
        ("acc1", "singlelabel", True),
        ("acc1", "multilabel", False),
        ("map", "multilabel", True),
        ("loss", "multilabel", True),
        ("ap/a/b", "multilabel", True),
        ("ap/a", "singlelabel", False),
        ("recall/", "singlelabel", False),
        ("recall", "singlelabel", False),
    ],
)
def test_what_a_best_epoch_may_be_chosen_by(name, task, is_known):
    assert is_selectable(name, task) is is_known
