"""Names that would command a terminal, break a line, or become a formula are shown as what they are."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileone.outside_text import csv_cell, json_text, printable, printable_lines

HOSTILE = "a\x1b[2J\x9b1m\x07\r\n\x7f\u202egpj.exe\u2028\ud800\udcff"
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def test_hostile_names_are_escaped_in_one_line():
    assert printable(HOSTILE) == (
        r"a\x1b[2J\x9b1m\x07\x0d\x0a\x7f\u202egpj.exe\u2028\ud800\xff"  # as the shell would write them
    )
    assert printable("Straße 猫 é😀") == "Straße 猫 é😀"


@given(ANY_TEXT)
def test_whatever_is_printed_is_harmless_unicode(text):
    for shown in (printable(text), printable_lines(text)):
        shown.encode("utf-8")
        assert not set(shown) & set("\x1b\x9b\x07\x00\u202e")
    assert "\n" not in printable(text)


@given(ANY_TEXT)
def test_json_of_hostile_text_is_harmless_and_exact(text):
    for only_ascii in (False, True):
        written = json_text({text: [text]}, indent=2, only_ascii=only_ascii)
        assert json.loads(written) == {text: [text]}
        written.encode("utf-8")
        assert not set(written) & set("\x1b\x9b\x07\x00\u202e\x7f")


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="JSON compliant"):
        json_text(float("nan"))


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_cells_that_begin_like_a_formula_are_marked(text):
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "cat", "n01440764", "a=b", "a-b", "'=1"])
def test_other_cells_stay(text):
    assert csv_cell(text) == text
