"""The reference port's command line."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mobileone.cli.reference import StepLog, keep_earlier_run

ROOT = Path(__file__).resolve().parents[2]


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
    last = done.stdout.splitlines()[-1]  # three columns of ten; a loss may fill its own
    accuracy, top5, _ = (float(last[start : start + 10]) for start in (0, 10, 20))
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


def test_the_step_log_is_the_port_s_table_anew(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "epoch,acc@1,acc@5,train_loss,val_loss,lr\n1,,,2.5,,0.1\n12,75.12345,99,1.25,0.5,0.1\n"
    )
    for _ in range(2):
        StepLog(tmp_path).write()
    with (tmp_path / "step.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["epoch", "acc@1", "acc@5", "train_loss", "val_loss"],
            ["001", "", "", "2.500", ""],
            ["012", "75.123", "99.000", "1.250", "0.500"],
        ]


def test_earlier_runs_are_kept_in_order(tmp_path, capsys):
    weights = tmp_path / "weights"
    for number in range(2):
        weights.mkdir()
        (weights / "mine.txt").write_text(str(number))
        keep_earlier_run(weights)
    assert [(tmp_path / f"weights.{n}" / "mine.txt").read_text() for n in (1, 2)] == ["0", "1"]
    assert "weights.2" in capsys.readouterr().err
    weights.mkdir()
    keep_earlier_run(weights)  # an empty folder is no run
    assert weights.exists()
