"""The check of the GPU runs on a CPU from the first line to the last, and keeps what it finds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.gpu_measurements import CHECKS

import mobileone

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
    code, lines = dry(tmp_path, "--only", ",".join(only), "--budget", "850")  # a CPU may be slow
    assert [line for line in lines if "failed" in line] == []
    assert [line["check"] for line in lines if "exit" in line] == [name for name in CHECKS if name in only]
    assert code == 0


PASSES = """
import torch
from benchmarks.gpu_measurements import Bench, _check_passes
from mobileone.functional.kernels import depthwise_convolution_triton as forward
from mobileone.functional.window import Window
bench = Bench("kernels", dry=True)
for stride in (1, 2):
    x = torch.randn(2, 5, 6, 7).bfloat16().contiguous(memory_format=torch.channels_last)
    _check_passes(bench, x, Window((3, 3), (stride, stride), (1, 1)), {})
real = forward.convolution
forward.convolution = lambda *a, **k: real(*a, **k) * float("nan")
_check_passes(bench, x, Window((3, 3), (stride, stride), (1, 1)), {})
"""


def test_wrong_passes_fail(tmp_path):
    """In Triton's interpreter, right and then with values that are no numbers."""
    pytest.importorskip("triton", reason="needs mobileone[gpu]")
    command = [sys.executable, "-c", PASSES]
    env = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, env=env)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line.removeprefix("RESULT ")) for line in done.stdout.splitlines()]
    assert ["failed" in line for line in lines] == [False] * 6 + [True] * 3


def test_a_bare_source_tree_is_checked_too(tmp_path):
    """On a machine where nothing of ours is installed."""
    here = Path(mobileone.__file__).parents[1]
    hidden = f"import sys; sys.path = [p for p in sys.path if p != {str(here)!r}]; import runpy; "
    asked = "sys.argv[1:] = ['--dry', '--only', 'env']; "
    run = "runpy.run_module('benchmarks.gpu_check', None, '__main__')"
    command = [sys.executable, "-c", hidden + asked + run]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '"exit": 0' in done.stdout


def test_what_has_no_time_left_is_left_out_and_said(tmp_path):
    code, lines = dry(tmp_path, "--only", "env,train", "--budget", "5")
    assert lines == [{"check": name, "left_out": "no time"} for name in ("env", "train")]
    assert code == 1, "not everything was checked"
