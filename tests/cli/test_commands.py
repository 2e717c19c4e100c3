"""The command line as a user meets it: results on stdout; errors one line on stderr, exit code 1 or 2."""

import json
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def test_test_fuses_first_and_counts_every_image(run, model_file, photos):
    code, out, err = run("test", model_file, "--data", photos, "--json", "--workers", 0)
    result = json.loads(out)
    assert (code, result["num_images"], result["form"]) == (0, 6, "inference")
    assert 0 <= result["acc1"] <= result["acc5"] == 100.0
    assert "fused" in err


def test_unreadable_images_stop_or_are_named(run, model_file, photos):
    (photos / "val" / "cat" / "bad.jpg").write_bytes(b"not a picture")
    code, out, err = run("test", model_file, "--data", photos, "--workers", 0)
    assert (code, out) == (1, "")
    assert "bad.jpg" in err.splitlines()[-1]
    command = ["test", model_file, "--data", photos, "--workers", 0, "--on-bad-image", "skip"]
    code, out, err = run(*command)
    assert code == 0
    assert "n 6  skipped 1" in out
    assert "bad.jpg" in err


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
    with Image.open(picture) as sheet:
        assert sheet.size[0] == 1200
    code, out, _ = run("predict", model_file, images[0], "--topk", 1)
    assert code == 0
    assert out.count("%") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "wanted"),
    [
        (["test", "mobilone_s0", "--data", "digits"], 1, "mobileone_s0"),
        (["test", "missing.pth", "--data", "digits"], 1, "missing.pth"),
        (["test", "mobileone_s0", "--data", "nowhere"], 1, "nowhere"),
        (["predict", "mobileone_s0"], 1, "at least one image"),
        (["predict", "mobileone_s0", "missing.jpg"], 1, "missing.jpg"),
        (["predict", "mobileone_s0", "missing.jpg", "--topk", "0"], 1, "topk"),
        (["train", "--recipe", "paper_s9"], 1, "did you mean"),
        (["train", "--set", "epoch=3"], 1, "did you mean epochs"),
        (["train", "--set", "epoch=3", "--set", "batch_size=4"], 1, "did you mean epochs"),
        (["train", "--set", "epochs=three"], 1, "whole number"),
        (["train", "--set", "mixup=0.2"], 1, "did you mean mix.mixup"),
        (["train", "--set", "distill.teacher=mobileone_s4"], 1, "a variant without weights"),
        (["train", "--set", "class_weights=1,2", "--dry-run"], 1, "2 numbers, the data 10 classes"),
        (["train", "--recipe", "paper_s2", "--set", "epochs=4"], 1, "a phase of progressive has no epoch"),
        (["train", "--resume", "--run-dir", "nowhere"], 1, "no run to resume"),
        (["report", "nowhere"], 1, "holds no run"),
        (["explain", "mobileone_s0", "a.jpg", "--png", "b.jpg"], 1, "must end in .png"),
        (["test", "mobileone_s0", "--data", "digits", "--device", "cuda:99"], 1, "cuda:99"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, tmp_path, monkeypatch, arguments, code, wanted):
    monkeypatch.chdir(tmp_path)
    got, out, err = run(*arguments)
    assert (got, out) == (code, "")
    assert wanted in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
