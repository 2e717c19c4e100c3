"""Rows of a list, in each of its forms, and what is wrong with one, by its place."""

import json

import pytest

from mobileone.data.list_rows import is_list, read_rows
from mobileone.errors import DataError

TABLE = """image,labels,split,group
a.jpg,hat;red,train,7
"b, c.jpg",,val,8
"""
VALUES = [
    {"image": "a.jpg", "labels": ["hat", "red"], "split": "train", "group": 7},
    {"image": "b, c.jpg", "labels": [], "split": "val", "group": "8"},
]
FORMS = {
    "list.csv": TABLE,
    "bom.csv": "\ufeff" + TABLE.replace("\n", "\r\n"),
    "list.json": json.dumps(VALUES),
    "list.jsonl": "\n".join(map(json.dumps, VALUES)) + "\n\n",
}


@pytest.fixture
def write(tmp_path):
    def to(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        return tmp_path / name

    return to


@pytest.mark.parametrize("name", FORMS)
def test_every_form_has_the_same_rows(write, name):
    rows, task = read_rows(write(name, FORMS[name]))
    assert task == "multilabel"
    assert [row[1:] for row in rows] == [
        ("a.jpg", ("hat", "red"), "train", "7", None),
        ("b, c.jpg", (), "val", "8", None),
    ]
    assert rows[1].place == {".csv": "line 3", ".json": "entry 2", "jsonl": "line 2"}[name[-5:].lstrip("tsm")]


def test_one_label_a_row_and_no_other_column(write):
    rows, task = read_rows(write("one.csv", "label,image,colour\n cat ,a.jpg,grey\n"))
    assert (task, rows[0][1:]) == ("singlelabel", ("a.jpg", ("cat",), None, None, None))


def test_a_run_s_record_tells_names_too(write):
    rows, _ = read_rows(write("split.jsonl", '{"image": "/data/a.jpg", "label": "cat", "name": "a.jpg"}'))
    assert rows[0].name == "a.jpg"


def test_a_folder_that_is_called_like_a_list_is_none(tmp_path):
    (tmp_path / "photos.csv").mkdir()
    assert not is_list(tmp_path / "photos.csv")
    assert is_list(tmp_path / "PHOTOS.CSV")


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("a.csv", "", "has no rows"),
        ("a.csv", "image,label\n", "has no rows"),
        (
            "a.csv",
            "image;label\na.jpg;cat\n",
            "has the columns image;label; it needs image, and",
        ),
        ("a.csv", "image,label,labels\na.jpg,cat,cat\n", "needs image, and either label"),
        ("a.csv", "image,label, label\na.jpg,cat,dog\n", "it has two columns label; leave one of them out"),
        ("a.csv", "image,label\na.jpg,cat\nb.jpg\n", "line 3 has more or fewer cells than the first line"),
        ("a.csv", "image,label\na.jpg,cat,dog\n", "line 2 has more or fewer cells"),
        ("a.csv", 'image,label\n"a.jpg,cat\n', "cannot be read: unexpected end of data"),
        ("a.csv", "image,label\n,cat\n", "line 2: it names no image"),
        ("a.csv", "image,label\na.jpg,\n", "line 2: it has an empty label"),
        ("a.csv", "image,labels\na.jpg,hat;;red\n", "line 2: it has an empty label"),
        ("a.csv", "image,labels\na.jpg,hat;hat\n", "line 2: it has the label hat twice"),
        (
            "a.csv",
            "image,label,split\na.jpg,cat,training\n",
            "its split is 'training'; it must be one of train",
        ),
        ("a.csv", "image,label,split\na.jpg,cat,\n", "its split is empty; fill the column"),
        ("a.csv", "image,label,group\na.jpg,cat,\n", "its group is empty"),
        ("a.json", "{}", "it must hold a list of objects"),
        ("a.json", "[1]", "entry 1 is no object"),
        ("a.json", '[{"image": "a.jpg", "labels": "hat"', "cannot be read"),
        ("a.json", '[{"image": "a.jpg", "labels": [3]}]', "entry 1: its labels are missing, or no text"),
        (
            "a.json",
            '[{"image": "a.jpg", "label": ["a", "b"]}]',
            "entry 1: it has 2 labels; a list with",
        ),
        ("a.json", '[{"image": "a.jpg", "label": "a"}, {"image": "b.jpg"}]', "entry 2: its label is missing"),
        ("a.jsonl", '{"image": "a.jpg"', "cannot be read"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(write, name, text, wanted):
    with pytest.raises(DataError) as refused:
        read_rows(write(name, text))
    assert wanted in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_list_that_is_not_there_or_not_utf_8(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the list .*none\.csv: No such file"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("image,label\nä.jpg,cat\n".encode("latin-1"))
    with pytest.raises(DataError, match="utf-8"):
        read_rows(tmp_path / "latin.csv")
