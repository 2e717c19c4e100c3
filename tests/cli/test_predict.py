"""The predict command."""

import json

import pytest
from PIL import Image


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
