"""How results look on a terminal."""

import json
import math
from pathlib import Path

import pytest

from mobileone.cli.output import CountingBar, print_json, result_line
from mobileone.evaluation.metrics import EvalResult


def test_json_is_readable_by_any_parser(capsys):
    print_json({"path": Path("a/é.jpg"), "n": 1})
    text = capsys.readouterr().out
    assert json.loads(text) == {"path": "a/é.jpg", "n": 1}
    assert "é" in text
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"loss": math.nan})


def test_an_evaluation_is_one_line_that_names_what_was_left_out():
    figures = {"acc1": 12.5, "acc5": 50.0, "macro_f1": 1.0, "recall/a": 1.0}
    result = EvalResult(num_images=8, metrics=figures, loss=2.0)
    assert result_line(result) == "acc@1 12.500  acc@5 50.000  loss 2.0000  n 8"
    skipped = EvalResult(num_images=8, metrics=figures, loss=2.0, skipped=("a.jpg", "b.jpg"))
    assert result_line(skipped).endswith("n 8  skipped 2")
    labels = EvalResult(num_images=8, metrics={"map": 12.5, "macro_f1": 1.0, "ap/a": 1.0}, loss=2.0)
    assert result_line(labels) == "mAP 12.500  macro F1 1.000  loss 2.0000  n 8"


def test_a_counting_bar_learns_its_length_with_the_first_news():
    with CountingBar("checking", unit="image") as bar:
        assert bar.bar is None
        bar.show(3, 10)
        assert (bar.bar.n, bar.bar.total) == (3, 10)
        bar.show(7, 10)
        assert bar.bar.n == 7
    with CountingBar("checking", unit="image"):
        pass  # no news, no bar, nothing to close
