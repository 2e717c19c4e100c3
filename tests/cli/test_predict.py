"""The predict command."""

import csv
import json
import sys

import pytest
import torch
from PIL import Image

from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.cli import predict
from mobileone.cli.predict import shown_progress
from mobileone.cli.prediction_file import COLUMNS
from mobileone.decision import Decision
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model


def test_predict_names_classes_and_draws_them(run, model_file, photos, tmp_path):
    images = sorted((photos / "val" / "cat").glob("*.jpg"))
    picture = tmp_path / "sheet.png"
    code, out, _ = run("predict", model_file, *images, "--json", "--png", picture)
    predictions = json.loads(out)
    assert code == 0
    assert [p["image"] for p in predictions] == [str(i) for i in images]
    for prediction in predictions:
        assert {score["class_name"] for score in prediction["scores"]} == {"cat", "dog"}
        assert sum(score["probability"] for score in prediction["scores"]) == pytest.approx(1)
    with Image.open(picture) as sheet, Image.open(images[0]) as photo:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 24)}
        shown = colours & {colour for _, colour in photo.getcolors(1 << 24)}
    assert len(shown) > 100, "the photos' own colours are on the sheet"
    code, out, _ = run("predict", model_file, images[0], "--topk", 1)
    assert code == 0
    assert out.count("%") == 1


def test_predictions_go_to_a_file_a_line_a_class_or_a_line_an_image(run, model_file, photos, tmp_path):
    folder = photos / "val" / "cat"
    (folder / "bad.jpg").write_bytes(b"no picture")
    table, lines = tmp_path / "p.csv", tmp_path / "p.jsonl"
    for target in (table, lines):
        code, out, err = run("predict", model_file, folder, "--on-bad-image", "skip", "-o", target)
        assert (code, out) == (0, "")
        assert f"wrote {target}" in err
        assert "skipped: " in err
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 3 * 2 + 1
    assert [row["rank"] for row in rows[:2]] == ["1", "2"]
    (bad,) = [row for row in rows if row["error"]]
    assert (bad["image"], bad["class_name"]) == (str(folder / "bad.jpg"), "")
    images = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [image["image"] for image in images] == sorted(map(str, folder.iterdir()))
    assert float(rows[0]["probability"]) == images[0]["scores"][0]["probability"]
    code, _, err = run("predict", model_file, folder, "-o", table)
    assert code == 1
    assert "exists already" in err


def test_the_division_of_cores_is_said_where_there_are_many_photos(run, model_file, photos):
    folder = photos / "val" / "cat"
    many = [str(next(folder.iterdir()))] * 40
    code, out, err = run("predict", model_file, *many, "--topk", 1, "--scaled-decoding")
    assert (code, out.count("%")) == (0, 40)
    assert " cores decode: a photo takes " in err
    assert " cores decode" not in run("predict", model_file, *many[:3])[2]
    assert " cores decode" not in run("predict", model_file, *many, "--workers", 1)[2]
    code, _, err = run("predict", model_file, *many, "--workers", 0)
    assert (code, "workers must be at least 1, got 0" in err) == (1, True)


def test_no_bar_is_loaded_for_what_is_done_at_once(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mobileone.progress_bar", None)  # importing it would fail
    assert list(shown_progress(iter("abc"), number=3)) == list("abc")
    monkeypatch.setattr(predict, "LOG_AFTER_S", -1.0)
    with pytest.raises(ImportError):
        list(shown_progress(iter("abc"), number=3))


def test_a_bar_that_comes_late_leaves_nothing_out(monkeypatch):
    monkeypatch.setattr(predict, "LOG_AFTER_S", -1.0)
    assert list(shown_progress(iter("abc"), number=5, done=2)) == list("abc")


def test_labels_are_marked_and_a_threshold_chooses_them(run, tiny, photos, tmp_path):
    model = create_model(
        tiny, num_classes=2, input_spec=InputSpec(size=32), class_names=("hat", "red"), task="multilabel"
    ).eval()
    torch.nn.init.constant_(model.head.fc.weight, 0.0)
    model.head.fc.bias.data = torch.tensor([2.0, -2.0])
    path, photo = save_model(model, tmp_path / "labels.safetensors"), photos / "val" / "cat" / "0.jpg"
    code, out, _ = run("predict", path, photo)
    assert code == 0
    assert out.splitlines()[1:] == ["  *  88.08 %  hat", "     11.92 %  red"]
    code, out, _ = run("predict", path, photo, "--threshold", "0.9", "--json")
    assert json.loads(out)[0]["labels"] == []
    assert run("predict", path, photo, "--threshold", "0.9")[1].startswith(f"{photo}  no label reaches")


def test_an_unsure_answer_of_a_calibrated_model_is_marked(run, model_file, photos, tmp_path):
    model = load_model(model_file)
    model.decision = Decision(temperatures=(2.0,), thresholds=(1.0,))
    path = save_model(model, tmp_path / "calibrated.safetensors")
    image = sorted((photos / "val" / "cat").glob("*.jpg"))[0]
    code, out, _ = run("predict", path, image)
    assert (code, out.splitlines()[0]) == (0, f"{image}  unsure: its likeliest class is below the threshold")
    (prediction,) = json.loads(run("predict", path, image, "--json")[1])
    assert (prediction["sure"], prediction["doubt"]) == (False, "unlikely")
    run("predict", path, image, "-o", tmp_path / "p.csv")
    rows = csv.DictReader((tmp_path / "p.csv").read_text(encoding="utf-8").splitlines())
    assert {row["sure"] for row in rows} == {"unlikely"}
    code, out, _ = run("test", path, "--data", photos, "--workers", 0)
    assert (code, "sure 0.0 %" in out) == (0, True)
    assert "temperature 2.000, sure from 1.000 on" in run("info", path)[1]
    code, out, err = run("predict", path, image, "--input-size", 64)
    assert (code, "unsure:" in out, "calibrated with its own input size" in err) == (0, False, True)
