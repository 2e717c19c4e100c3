"""Splits that the hub's library keeps, and its errors in a line."""

from mobileone.data.hub_table import ArrowTable, first_line, hub_reason


def test_columns_and_images(table, cell):
    split = ArrowTable(table(3))
    assert (len(split), list(split.features)) == (3, ["image", "label"])
    assert split.values("label") == [0, 1, 0]
    assert split.paths("image") == ["0.png", "1.png", "2.png"]
    assert split.cell("image", 2) == cell(2, "2.png")
    assert ArrowTable(table(3).select([2, 0])).paths("image") == []  # rows of a table in another order


def test_reasons_are_a_line():
    assert first_line(ValueError("no\n route\x1b")) == "no route\\x1b"
    assert first_line(ValueError()) == "ValueError"
    assert hub_reason(ConnectionError("gone")) == "the hub is out of reach (gone)"
