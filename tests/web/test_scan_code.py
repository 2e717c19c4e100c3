"""The code in the terminal holds the address."""

import re
import sys

import pytest

from mobileone.errors import MissingExtraError
from mobileone.web.scan_code import scan_code

ADDRESS = "https://192.168.178.123:8000/"


def test_it_is_the_code_of_the_address():
    segno = pytest.importorskip("segno", reason="needs the extra web")
    lines = re.sub(r"\x1b\[[\d;]*m", "", scan_code(ADDRESS)).splitlines()
    wanted = segno.make(ADDRESS, error="l", micro=False)
    size = wanted.symbol_size(border=2)[0]
    assert {len(line) for line in lines} == {size}
    assert len(lines) == (size + 1) // 2, "two rows a line"
    assert size < 40, "it fits any terminal"
    # Light squares are drawn: a full block is two of them, a half one is one.
    upper = {"█": 1, "▀": 1, "▄": 0, " ": 0}
    drawn = [[1 - upper[sign] for sign in line] for line in lines]
    rows = list(wanted.matrix_iter(border=2))[::2]
    assert drawn == [[int(bool(each)) for each in row] for row in rows]


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "segno", None)
    with pytest.raises(MissingExtraError, match=r"a code to scan needs segno .*\[web\]"):
        scan_code(ADDRESS)
