"""`mobileone export`, and predict and test with what it wrote."""

import csv
import json

import PIL.Image
import pytest

from mobileone.checkpoint.store import save_model
from mobileone.cli.main import main
from mobileone.model.create import create_model


@pytest.fixture
def checkpoint(tiny, tmp_path):
    model = create_model(tiny, num_classes=3, form="inference", class_names=["cat", "dog", "hen"]).eval()
    model.set_input_size(32)
    return str(save_model(model, tmp_path / "net.safetensors"))


@pytest.fixture
def photos(tmp_path):
    for name, colour in (("cat", 30), ("dog", 120), ("hen", 220)):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        PIL.Image.new("RGB", (60, 40), (colour, 255 - colour, 99)).save(folder / f"{name}.jpg")
    return tmp_path / "photos"


def test_export_predict_and_test(checkpoint, photos, tmp_path, capsys):
    target = str(tmp_path / "net.pt2")
    assert main(["export", checkpoint, "-o", target, "--raw-input", "--images", str(photos)]) == 0
    out = capsys.readouterr().out
    assert "uint8 (1, 32, 32, 3) NHWC, RGB pixels, 0 to 255" in out
    assert "against PyTorch on 3 images" in out

    assert main(["predict", target, str(photos / "cat" / "cat.jpg"), "--json"]) == 0
    exported = json.loads(capsys.readouterr().out)
    assert main(["predict", checkpoint, str(photos / "cat" / "cat.jpg"), "--json"]) == 0
    (own,) = json.loads(capsys.readouterr().out)
    assert [score["class_name"] for score in exported[0]["scores"]] == [
        score["class_name"] for score in own["scores"]
    ]
    assert main(["test", target, "--data", str(photos), "--json"]) == 0
    tested = json.loads(capsys.readouterr().out)
    assert main(["test", checkpoint, "--data", str(photos), "--json"]) == 0
    reference = json.loads(capsys.readouterr().out)
    assert tested["runs"].startswith("PyTorch")
    assert tested["acc1"] == reference["acc1"]
    assert tested["loss"] == pytest.approx(reference["loss"], abs=1e-4)


def test_a_folder_streams_into_a_table_or_lines(checkpoint, photos, tmp_path, capsys):
    (photos / "hen" / "bad.png").write_bytes(b"nothing")
    table, lines = tmp_path / "out" / "p.csv", tmp_path / "p.jsonl"
    for target in (table, lines):
        arguments = ["predict", checkpoint, str(photos), "-o", str(target), "--topk", "2"]
        assert main([*arguments, "--on-bad-image", "skip"]) == 0
        assert "bad.png" in capsys.readouterr().err
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["rank"], bool(row["error"])) for row in rows] == [("1", False), ("2", False)] * 2 + [
        ("", True),
        ("1", False),
        ("2", False),
    ]
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [len(record["scores"]) for record in records] == [2, 2, 0, 2]
    assert rows[0]["class_name"] == records[0]["scores"][0]["class_name"]


def error_of(arguments, capsys):
    assert main([str(argument) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def test_a_bad_image_leaves_no_half_written_table(checkpoint, photos, tmp_path, capsys):
    (photos / "hen" / "bad.png").write_bytes(b"nothing")
    target = tmp_path / "p.csv"
    assert "bad.png" in error_of(["predict", checkpoint, photos, "-o", target], capsys)
    assert not target.exists()
    assert not list(tmp_path.glob(".p.csv*"))


def test_bad_input_is_one_line(checkpoint, photos, tmp_path, capsys):
    target, photo = tmp_path / "net.pt2", photos / "cat" / "cat.jpg"
    assert "pass --format" in error_of(["export", checkpoint, "-o", tmp_path / "out"], capsys)
    assert "no model" in error_of(["export", "nothing", "-o", target], capsys)
    assert "got 7" in error_of(["export", checkpoint, "-o", target, "--input-size", "7"], capsys)
    assert "photos are" in error_of(["export", checkpoint, "-o", target, "--images", checkpoint], capsys)
    assert not target.exists()
    assert "is not there" in error_of(["predict", target, photo], capsys)
    assert main(["export", checkpoint, "-o", str(target)]) == 0
    capsys.readouterr()
    assert "exists already" in error_of(["export", checkpoint, "-o", target], capsys)
    assert "one size" in error_of(["test", target, "--data", photos, "--input-size", "64"], capsys)
    assert "drop --device cuda" in error_of(["predict", target, photo, "--device", "cuda"], capsys)
    assert "threads does not apply" in error_of(["predict", checkpoint, photo, "--threads", "1"], capsys)
    assert "ends in .csv or .jsonl" in error_of(["predict", target, photo, "-o", "p.txt"], capsys)
    (tmp_path / "net.pt2.json").unlink()
    assert "has no manifest" in error_of(["test", target, "--data", photos], capsys)
