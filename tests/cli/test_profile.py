"""`mobileone profile` as a user meets it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch

from mobileone.model.create import create_model
from mobileone.profiling import roofline
from mobileone.profiling.cost import network_cost
from mobileone.profiling.onnx_model import export_module
from mobileone.variants import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "report_mobileone_s0.txt"
GFLOP = dict(zip(VARIANTS, ("0.550222", "1.65012", "2.59685", "3.79158", "5.96044"), strict=True))


@pytest.fixture
def run(run):
    """One command, on one thread unless it says otherwise."""
    return lambda *arguments: run(*arguments, *(() if "--threads" in arguments else ("--threads", 1)))


@pytest.fixture(autouse=True)
def _quick_ceilings(monkeypatch):
    """Ceilings of no worth, in no time."""
    monkeypatch.setattr(roofline, "MATMUL_SIZES", (64,))
    monkeypatch.setattr(roofline, "COPY_BYTES", (2**20,))
    monkeypatch.setattr(roofline, "MIN_SECONDS", 0.0)


@pytest.fixture
def onnx_file(tiny, tmp_path):
    model = create_model(tiny, num_classes=2, form="inference").eval()
    path = tmp_path / "tiny.onnx"
    onnx.save(export_module(model, (torch.zeros(1, 3, 32, 32),)).proto, path)
    return path


def test_the_report_of_s0_is_the_references_but_for_time(run):
    code, out, err = run("profile", "mobileone_s0", "--runs", 2)
    assert (code, err) == (0, "")
    golden = GOLDEN.read_text(encoding="utf-8")
    sections = golden[golden.index("FLOP per operator type:") :]
    assert f"\n{sections}\n" in out
    assert out.startswith("Number of parameters: 2078504\nTime per operator type:\n")
    times = out.partition("FLOP per operator type:")[0].splitlines()[2:]
    kinds = {"Conv", "Relu", "FC", "AveragePool", "Reshape", "Gather", "ExpandDims", "Concat", "Shape"}
    assert {line.rpartition(" ")[2] for line in times[:-1]} == kinds
    assert re.fullmatch(r" +[0-9.]+ ms in Total", times[-1])
    for fact in (
        "onnxruntime 1.",
        "float32 1×3×224×224",
        "2 timed runs, after 10 of warm-up",
        "optimizations off",
    ):
        assert fact in out


@pytest.mark.slow
@pytest.mark.parametrize("form", ["inference", "train"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant(run, name, form):
    arguments = (
        "profile",
        name,
        "--form",
        form,
        "--runs",
        1,
        "--json",
        "--batch-size",
        2,
        "--input-size",
        64,
    )
    code, out, _ = run(*arguments)
    assert code == 0
    cost = network_cost(VARIANTS[name], form=form, batch_size=2, input_size=64)
    result = json.loads(out)
    totals = result["totals"]
    assert (result["num_parameters"], totals["macs"], totals["count"]) == (cost.params, cost.macs, cost.flops)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_totals_of_every_variant(run, name):
    code, out, _ = run("profile", name, "--runs", 1)
    assert code == 0
    assert f"{GFLOP[name]:>15} GFLOP in Total" in out.splitlines()


@pytest.mark.slow
def test_what_fusing_saves(run):
    names = ("mobileone_s0:train", "mobileone_s0:inference")
    code, out, _ = run("profile", "--compare", *names, "--runs", 10)
    assert code == 0
    rows = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    assert rows["parameters"][1:] == ["5,293,272", "2,078,504", "2.55"]
    assert float(rows["ms, whole run"][-1]) > 1, "the fused network is the faster one"


def test_json_is_documented(run, model_file):
    code, out, _ = run("profile", model_file, "--runs", 1, "--clock", "torch", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["schema"] == "mobileone.profile/1"
    assert result["totals"]["macs"] == sum(row["macs"] for row in result["layers"])
    assert result["machine"]["peak_gflops"] > 0
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")))
    assert keys_of(result) - documented == set()


def keys_of(value):
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if not isinstance(value, dict):
        return set()
    inner = (keys_of(v) for k, v in value.items() if k != "versions")  # whose keys are packages
    return set(value).union(*inner)


def test_a_file_and_a_comparison(run, onnx_file, model_file, tmp_path):
    page, plot = tmp_path / "out" / "page.html", tmp_path / "out" / "roof.png"
    arguments = ("--runs", 1, "--by", "layer", "--html", page, "--png", plot)
    code, out, err = run("profile", "--compare", onnx_file, f"{model_file}:inference", *arguments)
    assert code == 0
    assert "tiny.onnx" in out
    assert "stages.0.0.reparam_conv" in out
    assert err.splitlines() == [f"wrote {page}", f"wrote {plot}"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one MODEL, or two with --compare A B"),
        (("mobileone_s0", "--compare", "a", "b"), "give one MODEL"),
        (("mobileone_s0", "--runs", "0"), "runs must be at least 1, got 0"),
        (("mobileone_s0", "--input-size", "0"), "got 0"),
        (("mobileone_s0", "--batch-size", "0"), "must be at least 1"),
        (("mobileone_s0", "--threads", "0"), "threads must be at least 1, got 0"),
        (("mobileone_s9",), "mobileone_s9"),
        (("mobileone_s0", "--device", "abacus"), "device abacus is not there"),
        (("mobileone_s0", "--device", "meta"), "meta tensors compute nothing"),
        (("mobileone_s0", "--device", "cuda:99"), "device cuda:99 is not there"),
        (("nowhere.onnx",), "nowhere.onnx is not there"),
        (("nowhere.onnx", "--input-size", "64"), "drop --input-size"),
        (("nowhere.onnx", "--device", "cuda"), "runs on the CPU"),
    ],
)
def test_refusals_are_one_line(run, arguments, message):
    code, out, err = run("profile", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("mobileone: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [("m", "--by", "colour"), ("m", "--runs", "x"), ("m", "--nothing")])
def test_wrong_usage(run, arguments):
    code, out, err = run("profile", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_a_page_that_cannot_be_written(run, model_file, tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "page.html"
    code, _, err = run("profile", model_file, "--runs", 1, "--clock", "torch", "--html", target)
    assert code == 1
    assert "cannot write" in err


HELP = """
import sys
from mobileone.cli.main import main
try:
    main(["profile", "--help"])
except SystemExit:
    assert "torch" not in sys.modules
"""


def test_help_needs_no_torch():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--convention" in done.stdout
