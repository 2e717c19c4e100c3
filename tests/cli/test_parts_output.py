"""What is said of results in a folder."""

import json
from pathlib import Path

import pytest

from mobileone.cli.parts_output import is_folder, own_threads, tell_report
from mobileone.parts.work_through import PartsReport


def test_what_is_a_folder(tmp_path):
    (tmp_path / "there.csv").mkdir()
    assert [is_folder(each) for each in (tmp_path / "there.csv", Path("a.csv"), Path("a/"), None)] == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("values", "code", "told"),
    [
        ({}, 0, "out: all parts are there; mobileone merge out proves it"),
        ({"failed": {"a": "why", "b": "", "c": "", "d": ""}}, 1, "4 parts are missing: a, b, c and 1 more"),
        ({"left": ("a",)}, 0, "1 parts are for other ranks to do"),
    ],
)
def test_the_exit_code_says_whether_all_is_there(capsys, values, code, told):
    report = PartsReport(output="out", parts=4, there_before=1, done_here=("x",), images_here=3, **values)
    assert tell_report(report, as_json=False) == code
    said = capsys.readouterr()
    assert said.out == "out: 1 of 4 parts done here, 3 images, 1 were there\n"
    assert told in said.err
    tell_report(report, as_json=True)
    assert json.loads(capsys.readouterr().out)["is_whole"] == (not values)


def test_threads_are_a_rank_s_share(monkeypatch):
    assert own_threads("a.onnx", None) is None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
    assert [own_threads("a.onnx", None), own_threads("a.onnx", 3), own_threads("a", None)] == [1, 3, None]
