"""scripts/reproduce: every line of docs/results.md can be run again, and is held against what it says."""

import subprocess
import zipfile
from pathlib import Path

import pytest
from benchmarks import reproduce
from benchmarks.reproduce import RESULTS, main, stated, unpacked

from mobileone.cli.main import read_command
from mobileone.cli.usage import parse

PAGE = """
| name | command | best top-1, % |
|---|---|---|
| `clothing-one` | `mobileone train --data DATA --recipe linear_probe --init weights` | 90.00 ± 0.5 | 1 | - |
"""


def test_every_line_of_the_page_is_a_command_with_a_place_for_the_data():
    text = RESULTS.read_text(encoding="utf-8")
    lines = stated(text)
    assert len(lines) == text.count("| `mobileone train")
    for line in lines.values():
        assert line.command.count("DATA") == 1
        parse(read_command, line.arguments("photos", init=None, run_dir=Path("runs/x")), prog="mobileone")


@pytest.mark.parametrize(("got", "code"), [(90.4, 0), (89.4, 1)])
def test_a_line_is_run_with_the_places_given_and_compared(tmp_path, monkeypatch, capsys, got, code):
    page = tmp_path / "results.md"
    page.write_text(PAGE, encoding="utf-8")
    commands = []

    def run(command, **_):
        commands.append(command)
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "metrics.csv").write_text(f"epoch,acc@1\n1,{got}\n2,\n3,12\n")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(reproduce, "RESULTS", page)
    monkeypatch.setattr(subprocess, "run", run)
    assert (
        main(["clothing-one", "--data", "photos", "--init", "mine", "--run-dir", str(tmp_path / "run")])
        == code
    )
    assert commands[0][3:] == [
        *("train", "--data", "photos", "--recipe", "linear_probe", "--init", "mine"),
        *("--run-dir", str(tmp_path / "run")),
    ]
    said = f"clothing-one: best top-1 {got:.2f} %, stated 90.00 ± 0.5" + (": not as stated" if code else "")
    assert capsys.readouterr().out.strip() == said


def test_an_unknown_line_names_those_there_are(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["none", "--data", "photos"])
    assert "clothing-s0-probe" in capsys.readouterr().err


def test_without_data_the_set_of_the_name_is_taken_and_without_that_asked_for(tmp_path, monkeypatch, capsys):
    archive = tmp_path / "clothes.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("clothes/train/hat/1.jpg", b"")
    found = unpacked(archive, tmp_path / "data")
    assert (found / "train" / "hat" / "1.jpg").exists()
    assert unpacked(archive, tmp_path / "data") == found
    assert [place.name for place in (tmp_path / "data").iterdir()] == ["clothes"]
    monkeypatch.setattr(reproduce, "SHARED", tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["clothing-s0-probe"])
    assert "clothing_176_q80.zip is not in ../shared/data; say where" in capsys.readouterr().err
