"""The check of the GPU runs on a CPU from the first line to the last, and keeps what it finds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.gpu_measurements import CHECKS

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("env", "exact", "kernels")


def dry(out: Path, *arguments: str) -> tuple[int, list[dict[str, object]]]:
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--dry", "--out", str(out), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    lines = (out / "gpu_check.jsonl").read_text(encoding="utf-8").splitlines()
    return done.returncode, [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("only", [QUICK, tuple(name for name in CHECKS if name not in QUICK)])
def test_every_check_runs_dry(tmp_path, only):
    code, lines = dry(tmp_path, "--only", ",".join(only))
    assert [line for line in lines if "failed" in line] == []
    assert [line["check"] for line in lines if "exit" in line] == [name for name in CHECKS if name in only]
    assert code == 0


def test_what_has_no_time_left_is_left_out_and_said(tmp_path):
    code, lines = dry(tmp_path, "--only", "env,train", "--budget", "5")
    assert lines == [{"check": name, "left_out": "no time"} for name in ("env", "train")]
    assert code == 0
