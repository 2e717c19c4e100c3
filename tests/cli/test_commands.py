"""The command line as a user meets it: results on stdout; errors one line on stderr, exit code 1 or 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.model.create import create_model

ROOT = Path(__file__).resolve().parents[2]


def test_train_then_resume_then_use(run, photos, tiny, tmp_path):
    weights = save_model(create_model(tiny, num_classes=5).eval(), tmp_path / "start.safetensors")
    command = [
        "train",
        "--data",
        photos,
        "--recipe",
        "finetune",
        "--init",
        weights,
        "--run-dir",
        tmp_path / "run",
    ]
    settings = ["--set", "epochs=2", "batch_size=4", "input_size=32", "num_workers=0", "amp=off"]
    code, out, err = run(*command, *settings)
    assert (code, "acc@1" in out) == (0, True), err
    assert load_model(tmp_path / "run").class_names == ("cat", "dog")
    assert f"report: {tmp_path / 'run' / 'report.html'}" in err
    assert (tmp_path / "run" / "report.html").exists()
    code, _, err = run(*command, *settings)
    assert code == 1
    assert "holds a run already" in err
    code, out, _ = run("train", "--run-dir", tmp_path / "run", "--resume", "--json")
    assert (code, len(json.loads(out)["records"])) == (0, 2)


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


def shell(*command, cwd):
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_the_reference_command_line_on_two_ranks(photos, tmp_path):
    flags = ["--data", photos, "--input-size", 32, "--workers", 0]
    for _ in range(2):
        done = shell(
            "bash", ROOT / "main.sh", 2, "--train", *flags, "--epochs", 2, "--batch-size", 4, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr[-2000:]
    lines = (tmp_path / "weights" / "step.csv").read_text().splitlines()
    assert lines[0] == "epoch,acc@1,acc@5,train_loss,val_loss"
    assert [line.split(",")[0] for line in lines[1:]] == ["001", "002"]
    assert (tmp_path / "weights.1" / "best.pt").exists()
    assert torch.load(tmp_path / "weights" / "last.pt", weights_only=True)
    done = shell(sys.executable, ROOT / "main.py", "--test", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Number of parameters: 2.079M (2078504)" in done.stdout
    accuracy, top5, _ = map(float, done.stdout.splitlines()[-1].split())
    assert 0 <= accuracy <= top5 == 100.0


def test_reference_command_line_prints_counts_and_refuses_in_one_line(tmp_path):
    done = shell(sys.executable, ROOT / "main.py", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "Number of parameters: 2.079M (2078504)",
            "Number of FLOPs: 0.550222G (275.110M multiply-accumulates)",
        ],
    )
    done = shell(sys.executable, ROOT / "main.py", "--test", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "main.py: error: weights/best.pt is not there; train first: bash main.sh N --train --data DIR"
    ]
    done = shell("bash", ROOT / "main.sh", "--train", cwd=tmp_path)
    assert (done.returncode, "usage: bash main.sh N" in done.stderr) == (2, True)
