"""From a list of images with several labels to a file that names them, by the commands alone."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mobileone.checkpoint.load import load_model
from mobileone.cli.main import main

pytest.importorskip("sklearn", reason="figures of several labels need scikit-learn, in the extra train")


@pytest.fixture
def run(capsys):
    def command(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return command


@pytest.fixture
def small():
    """Settings of a network that is trained in a second."""
    variant = {"name": "tiny", "widths": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_conv_branches": 2}
    return [f"model={json.dumps(variant)}", "batch_size=8", "num_workers=0", "base_lr=1", "ema_decay=0.5"]


def test_train_test_export_and_predict_agree(run, label_list, small, tmp_path):
    folder = tmp_path / "run"
    options = ["epochs=6", "input_size=32", "crop_scale=0.5,1", "label_smoothing=0", "select=map", *small]
    task = ["--task", "multilabel", "--device", "cpu"]
    run("train", "--data", label_list, *task, "--run-dir", folder, "--set", *options)
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: float(row["map"]))
    assert float(best["map"]) > 70
    for name in ("macro_f1", "micro_f1", "subset_acc", "ap/red", "f1/bright"):
        assert 0 <= float(best[name]) <= 100
    page = (folder / "report.html").read_text()
    assert "Every label" in page
    assert f"<b>{float(best['map']):.2f} %</b>" in page
    assert load_model(folder).task == "multilabel"

    alone = json.loads(run("test", folder, "--data", label_list, "--workers", 0, "--json"))
    assert alone["map"] == pytest.approx(float(best["map"]), rel=1e-4)
    assert alone["per_class"]["ap"].keys() == {"bright", "red"}
    file = tmp_path / "net.pt2"
    run("export", folder, "--format", "torch", "-o", file)
    of_file = json.loads(run("test", file, "--data", label_list, "--json"))
    assert of_file["map"] == pytest.approx(alone["map"], abs=0.1)
    assert of_file["loss"] == pytest.approx(alone["loss"], rel=1e-3)

    pictures = [Path(tmp_path, "pictures", f"{number:02}.png") for number in range(24, 28)]
    answers = json.loads(run("predict", file, *pictures, "--json"))
    for answer in answers:
        by_name = {score["class_name"]: score["probability"] for score in answer["scores"]}
        assert answer["labels"] == sorted(
            (n for n in by_name if by_name[n] >= 0.5), key=lambda n: -by_name[n]
        )
    assert np.ptp([sum(score["probability"] for score in answer["scores"]) for answer in answers]) > 0.1


KINDS = {
    "dress": ("one piece",),
    "hat": ("accessory",),
    "longsleeve": ("top", "long"),
    "outwear": ("top", "long"),
    "pants": ("bottom", "long"),
    "shirt": ("top",),
    "shoes": ("accessory",),
    "shorts": ("bottom",),
    "skirt": ("bottom",),
    "t-shirt": ("top",),
}
"""Labels of the ten kinds of clothes, besides their own."""


@pytest.fixture
def clothes(shared_data, tmp_path):
    """A list of 12 photos of each kind, each with two or three labels, not divided."""
    rows = ["image,labels"]
    with zipfile.ZipFile(shared_data / "clothing_176_q80.zip") as archive:
        for kind, more in KINDS.items():
            names = sorted(name for name in archive.namelist() if name.startswith(f"train/{kind}/"))[:12]
            archive.extractall(tmp_path / "clothes", names)
            rows += [f"clothes/{name},{';'.join((kind, *more))}" for name in names]
    (tmp_path / "clothes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path / "clothes.csv"


@pytest.mark.slow
def test_clothes_go_from_photos_to_an_int8_file(run, clothes, shared_data, tmp_path, needs_backend):
    needs_backend("onnx")
    folder = tmp_path / "run"
    options = ["epochs=2", "batch_size=16", "num_workers=0", "loss=asymmetric", "sampling=balanced"]
    run(
        *("train", "--data", clothes, "--task", "multilabel", "--recipe", "finetune", "--split", 0.25),
        *(
            "--init",
            shared_data / "apple_s0" / "mobileone_s0.pth.tar",
            "--run-dir",
            folder,
            "--device",
            "cpu",
        ),
        *("--input-size", 96, "--set", *options),
    )
    tested = json.loads(run("test", folder, "--data", clothes, "--workers", 0, "--json"))
    assert (tested["num_images"], len(tested["per_class"]["ap"])) == (30, 15)
    best = load_model(folder).eval()
    assert (best.task, best.num_classes) == ("multilabel", 15)
    run("export", folder, "--format", "onnx", "-o", tmp_path / "net.onnx")
    exported = json.loads(run("test", tmp_path / "net.onnx", "--data", folder / "split.jsonl", "--json"))
    assert exported["map"] == pytest.approx(tested["map"], abs=0.05)
    run("quantize", folder, "--format", "onnx", "--calib", tmp_path / "clothes", "-o", tmp_path / "int8.onnx")
    int8 = json.loads(run("test", tmp_path / "int8.onnx", "--data", folder / "split.jsonl", "--json"))
    assert int8["map"] == pytest.approx(tested["map"], abs=15)
    photo = next((tmp_path / "clothes" / "train" / "pants").iterdir())
    for file in (folder, tmp_path / "net.onnx", tmp_path / "int8.onnx"):
        (answer,) = json.loads(run("predict", file, photo, "--threshold", 0.1, "--topk", 15, "--json"))
        by_name = {score["class_name"]: score["probability"] for score in answer["scores"]}
        assert len(by_name) == 15
        assert set(answer["labels"]) == {name for name, value in by_name.items() if value >= 0.1}
