"""Columns line up, words to the left and numbers to the right."""

from mobileone.report.aligned_table import aligned_table


def test_columns_of_numbers_go_to_the_right_by_themselves():
    rows = [["stem", "conv", "1,234", "–"], ["head.fc", "linear", "7", "0.25"]]
    assert aligned_table(["name", "kind", "params", "ms"], rows).splitlines() == [
        "name     kind    params    ms",
        "stem     conv     1,234     –",
        "head.fc  linear       7  0.25",
    ]


def test_one_word_keeps_a_column_to_the_left():
    assert aligned_table(["a", "b"], [["x", "10"], ["y", "none"]]).splitlines() == [
        "a  b",
        "x  10",
        "y  none",
    ]


def test_the_caller_may_say_which_are_words():
    table = aligned_table(["a", "b", "c"], [["1", "x", "y"]], num_text=2)
    assert table.splitlines() == ["a  b  c", "1  x  y"]
    assert aligned_table(["a", "long"], [["wide", "x"]], num_text=1).splitlines()[1] == "wide     x"


def test_no_rows_leave_the_header():
    assert aligned_table(["name", "n"], []) == "name  n"
