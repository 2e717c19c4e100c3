"""Tables of a report hold the figures of every class."""

import numpy as np

from mobileone.evaluation.answers import Answers
from mobileone.training.run.report_tables import classes_table, epochs_table, pairs_table


def test_a_class_has_its_recall_precision_and_f1():
    answers = Answers(
        classes=("a", "b"),
        indices=np.arange(4),
        labels=np.array([0, 0, 0, 1]),
        predictions=np.array([0, 1, 0, 1]),
        probabilities=np.ones(4, np.float32),
        in_top5=np.ones(4, bool),
    )
    table = classes_table(answers)
    for cell in ("66.7", "100.0", "80.0", "50.0"):  # recall and precision, F1 of a, precision of b
        assert f">{cell}<" in table
    assert ">1<" in pairs_table(answers)
    assert pairs_table(Answers(**{**vars_of(answers), "predictions": answers.labels})).startswith("<p>None")


def vars_of(answers):
    return {name: getattr(answers, name) for name in answers.__dataclass_fields__}


def test_single_classes_are_no_columns_of_the_epochs():
    table = epochs_table([{"epoch": "1", "acc@1": "", "images/s": "7", "recall/a": "50"}])
    assert "images/s" in table
    assert "recall" not in table
