"""`mobileone bench` as a user meets it, on a tiny network."""

import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.benchmarking import ceilings
from mobileone.checkpoint.store import save_model
from mobileone.exporting.export import export
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.profiling import roofline

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(run):
    """`mobileone bench` with these arguments."""
    return lambda *arguments: run("bench", *arguments)


@pytest.fixture(autouse=True)
def _quick_ceilings(monkeypatch):
    monkeypatch.setattr(roofline, "COPY_BYTES", (2**20,))
    monkeypatch.setattr(roofline, "MATMUL_SIZES", (64,))
    monkeypatch.setattr(roofline, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(ceilings, "REPEATS", 1)


@pytest.fixture
def model(tiny):
    return create_model(
        tiny, num_classes=2, form="inference", input_spec=InputSpec(size=32), class_names=("cat", "dog")
    ).eval()


@pytest.fixture
def photos(tmp_path):
    """Six photos in two class folders."""
    noise = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "photos" / "val" / name
        folder.mkdir(parents=True)
        for index in range(3):
            PIL.Image.fromarray(noise.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
                folder / f"{index}.png"
            )
    return tmp_path / "photos"


def test_one_network_in_one_runtime_with_images(run, model, photos, tmp_path):
    file = save_model(model, tmp_path / "tiny.safetensors")
    page, plot = tmp_path / "out" / "page.html", tmp_path / "out" / "plot.png"
    arguments = (
        *("--backends", "litert,ncnn", "--precisions", "fp32,int8", "--batch-sizes", "1,3"),
        *("--baselines", "none", "--runs", 6, "--seconds", 0.1, "--eval", photos, "--json"),
    )
    code, out, err = run(file, *arguments, "--html", page, "--png", plot)
    assert code == 0
    result = json.loads(out)
    ran = {(row["backend"], row["batch_size"]): row for row in result["rows"] if row["latency"]}
    assert set(ran) == {("litert", 1), ("litert", 3), ("ncnn", 1)}
    first = ran["litert", 1]
    assert sum(map(len, first["latency"]["rounds_ms"])) == first["latency"]["runs"] == 6
    assert first["accuracy"] == {
        "num_images": 6,
        "top1": result["reference"]["tiny"]["top1"],
        "agreement": 100.0,
    }
    assert first["size_bytes"] > 1000
    refused = [row for row in result["rows"] if not row["latency"]]
    reasons = {(row["backend"], row["precision"], row["batch_size"]): row["reason"] for row in refused}
    assert "ncnn takes one image at a time" in reasons["ncnn", "fp32", 3]
    assert reasons["ncnn", "int8", 1] == "ncnn executes fp32, bf16 here"
    assert "quantised artifact" in reasons["litert", "int8", 1]
    assert [found["batch_size"] for found in result["recommendations"]] == [1, 3]
    assert result["ceilings"][0]["arithmetic"]["fp32"]["gops"] > 0
    assert f"wrote {page}" in err
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert plot.read_bytes().startswith(b"\x89PNG")
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "benchmarking.md").read_text(encoding="utf-8")))
    assert keys_of(result) - documented == set()


def test_int8_is_made_from_photos(run, model, photos, tmp_path):
    file = save_model(model, tmp_path / "tiny.safetensors")
    arguments = ("--backends", "litert", "--precisions", "int8", "--runs", 4, "--baselines", "none", "--json")
    code, out, _ = run(file, *arguments, "--calib", photos)
    assert code == 0
    (row,) = json.loads(out)["rows"]
    assert (row["backend"], row["precision"], row["reason"]) == ("litert", "int8", None)
    assert row["latency"]["runs"] == 4
    code, _, err = run(file, *arguments, "--calib", file)
    assert (code, "photos are a folder, a list of images, shards" in err) == (1, True)


def keys_of(value):
    """All keys but those that are data."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if not isinstance(value, dict):
        return set()
    data = ("versions", "reference", "arithmetic", "spins_ms")
    inner = (
        keys_of(list(v.values()) if k in data and k != "versions" else v)
        for k, v in value.items()
        if k != "versions"
    )
    return set(value).union(*inner)


def test_a_finished_artifact_beside_its_network(run, model, tmp_path):
    file = save_model(model, tmp_path / "tiny.safetensors")
    artifact = tmp_path / "mine.tflite"
    export(model, artifact, format="litert", raw_input=True)
    arguments = ("--backends", "litert", "--batch-sizes", "1,2", "--baselines", "none", "--runs", 2)
    code, out, _ = run(artifact, file, *arguments)
    assert code == 0
    assert out.startswith("tiny, batch 1\n")
    assert len(re.findall(r"^tiny, batch [12]: use litert", out, re.MULTILINE)) == 2
    refused = "litert (mine.tflite) fp32 (threads 1): the exported network takes 1 images at a time, got 2"
    assert f"did not run: {refused}" in out
    assert re.search(
        r"^  mobileone export \S+tiny.safetensors -o tiny.tflite --batch-size 2$", out, re.MULTILINE
    )
    assert len(re.findall(r"^litert.* fp32 +1 ", out, re.MULTILINE)) == 3


@pytest.mark.slow
def test_pytorch_beside_the_artifacts(run, model, tmp_path):
    file = save_model(model, tmp_path / "tiny.safetensors")
    code, out, _ = run(file, "--backends", "litert", "--runs", 2, "--json")
    assert code == 0
    rows = {row["backend"]: row for row in json.loads(out)["rows"]}
    assert [row["reason"] for row in rows.values()] == [None] * 5
    assert rows["PyTorch torch.compile"]["start_s"] > rows["PyTorch fused"]["start_s"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "bench needs at least one MODEL"),
        (("nowhere.safetensors",), "nowhere.safetensors"),
        (("nowhere.onnx",), "nowhere.onnx is not there"),
        (("mobileone_s0", "--backends", "abacus"), "backends must be all, or some of onnx, "),
        (("mobileone_s0", "--backends", "coreml"), "got coreml"),
        (("mobileone_s0", "--backends", ","), "got none"),
        (("mobileone_s0", "--device", "mps"), "bench runs on cpu, cuda or cuda:N, got device 'mps'"),
        (("mobileone_s0", "--device", "tensorrt"), "TensorRT is measured on cuda, beside CUDA"),
        (("mobileone_s0", "--threads", "0"), "threads must be 1 to "),
        (("mobileone_s0", "--threads", "9999"), "got 9999"),
        (("mobileone_s0", "--threads", "1,1"), "different values"),
        (("mobileone_s0", "--batch-sizes", "0"), "batch sizes must be at least 1, got 0"),
        (("mobileone_s0", "--runs", "0"), "runs must be at least 1, got 0"),
        (("mobileone_s0", "--seconds", "0"), "time budget"),
        (("mobileone_s0", "--tolerance", "-1"), "tolerance"),
        (
            ("mobileone_s0", "--precisions", "fp8"),
            "precisions must be among fp32, fp16, bf16, int8; got 'fp8'",
        ),
        (("mobileone_s0", "--baselines", "some"), "all or none"),
        (("mobileone_s0", "--png", "plot.jpg"), "must end in .png, got plot.jpg"),
        (("mobileone_s0", "--backends", "torch", "--eval", "nowhere"), "no such data folder: nowhere"),
    ],
)
def test_refusals_are_one_line(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("mobileone: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_nothing_is_measured_on_one(run):
    code, out, err = run("nowhere.onnx", "--device", "cuda:1")
    assert (code, out) == (1, "")
    assert err.startswith("mobileone: error: device cuda:1 is not here (")
    assert err.count("\n") == 1


def test_a_list_of_something_else_is_wrong_usage(run):
    code, out, err = run("mobileone_s0", "--threads", "1,one")
    assert (code, out) == (2, "")
    assert "whole numbers with commas, got '1,one'" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["--png", "--html"])
def test_a_file_that_cannot_be_written_is_found_out_at_once(run, tmp_path, option):
    (tmp_path / "file").write_text("")
    code, _, err = run("nowhere", option, tmp_path / "file" / f"x.{option[2:]}")
    assert code == 1
    assert "cannot write" in err


def test_a_missing_extra_is_named(run, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    code, _, err = run("mobileone_s0", "--backends", "openvino")
    assert code == 1
    assert "mobileone[openvino]" in err
