"""ONNX Runtime on the CPU, and on a GPU as far as that can be played."""

import json
import os
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from mobileone.backends.manifest import manifest_path, record_files
from mobileone.backends.onnx.session import PROVIDERS
from mobileone.backends.session import open_session
from mobileone.errors import ArtifactError, ConfigError
from mobileone.exporting.export import export

ort = pytest.importorskip("onnxruntime", reason="needs mobileone[onnx]")
onnx = pytest.importorskip("onnx", reason="needs mobileone[onnx]")


def test_it_runs_and_says_what_it_is(int8_file):
    session = open_session(int8_file("onnx"), threads=1)
    assert (session.runtime, session.precision) == (f"ONNX Runtime {ort.__version__}", "int8")
    logits = session.run(np.zeros((2, 32, 32, 3), np.uint8))
    assert (logits.shape, logits.dtype) == ((2, 7), np.float32)


def test_weights_in_a_file_that_no_manifest_lists_are_not_loaded(network, tmp_path):
    path = export(network, tmp_path / "net.onnx", format="onnx").path
    graph = onnx.load(path)
    path.unlink()
    onnx.save_model(graph, path, save_as_external_data=True, location="net.weights", size_threshold=0)
    assert (tmp_path / "net.weights").stat().st_size > 1000
    beside = manifest_path(path)
    values = json.loads(beside.read_text())
    values["files"] = [asdict(record) for record in record_files(path, [path])]
    beside.write_text(json.dumps(values))
    with pytest.raises(
        ArtifactError, match=r"net\.onnx keeps weights in another file, which no manifest covers"
    ):
        open_session(path)


def test_a_file_that_is_no_network_is_refused(garbage):
    with pytest.raises(ArtifactError, match=r"ONNX Runtime cannot load .*garbage\.onnx"):
        open_session(garbage("onnx"))


class PlayedRuntime:
    """An ONNX Runtime with a GPU; `takes` is what a session says it runs on, `told` what it says of how."""

    def __init__(self, monkeypatch, takes, **told):
        self.asked, self.entries = [], []
        self.takes, self.told = takes, told
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
        monkeypatch.setattr(ort, "get_available_providers", lambda: [*PROVIDERS.values()])
        monkeypatch.setattr(ort, "InferenceSession", self.open)
        monkeypatch.setattr(ort, "preload_dlls", lambda: self.entries.append("preloaded"), raising=False)
        monkeypatch.setattr(
            ort.SessionOptions, "add_session_config_entry", lambda options, *entry: self.entries.append(entry)
        )

    def open(self, graph, options, providers, enable_fallback):
        assert not enable_fallback
        self.asked += providers
        told = {provider: options | self.told for provider, options in providers}
        return SimpleNamespace(get_providers=lambda: [self.takes], get_provider_options=lambda: told)


@pytest.fixture
def float_file(network, tmp_path):
    return export(network, tmp_path / "net.onnx", format="onnx").path


@pytest.fixture
def half_file(network, tmp_path):
    return export(network, tmp_path / "half.onnx", format="onnx", half=True).path


@pytest.mark.parametrize(
    ("device", "precision", "asked", "tf32"),
    [
        ("cuda:1", None, ("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0"}), "1"),
        ("tensorrt", None, ("TensorrtExecutionProvider", {"device_id": "0", "trt_fp16_enable": "0"}), "0"),
        ("tensorrt", "fp16", ("TensorrtExecutionProvider", {"device_id": "0", "trt_fp16_enable": "1"}), "1"),
    ],
)
def test_on_a_gpu_it_runs_wholly_there_in_the_precision_it_says(
    float_file, monkeypatch, device, precision, asked, tf32
):
    played = PlayedRuntime(monkeypatch, takes=asked[0])
    session = open_session(float_file, device=device, precision=precision)
    assert played.asked == [asked]
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == tf32, "TensorRT has no other switch"
    assert ("session.disable_cpu_ep_fallback", "1") in played.entries
    assert "preloaded" in played.entries
    assert session.runtime == f"ONNX Runtime {ort.__version__}, {asked[0].removesuffix('ExecutionProvider')}"
    assert session.precision == (precision or "fp32")


def test_a_runtime_that_computes_otherwise_than_asked_is_refused(float_file, monkeypatch):
    PlayedRuntime(monkeypatch, takes="CUDAExecutionProvider", use_tf32="1")
    with pytest.raises(ConfigError, match=r"runs .*net\.onnx with use_tf32=1 where 0 was asked for"):
        open_session(float_file, device="cuda")
    PlayedRuntime(monkeypatch, takes="TensorrtExecutionProvider", trt_fp16_enable="0")
    with pytest.raises(ConfigError, match=r"with trt_fp16_enable=0 where 1 was asked for"):
        open_session(float_file, device="tensorrt", precision="fp16")


def test_a_gpu_whose_libraries_are_not_found_is_told_with_what_to_do(float_file, monkeypatch):
    played = PlayedRuntime(monkeypatch, takes="CUDAExecutionProvider")

    def refuse(*_arguments, **_options):
        raise RuntimeError(
            "nodes are assigned to the default CPU EP, but fallback to CPU EP has been explicitly disabled"
        )

    monkeypatch.setattr(ort, "InferenceSession", refuse)
    with pytest.raises(
        ConfigError, match=r"on the CPU where device cuda was asked for.*install those it wants"
    ):
        open_session(float_file, device="cuda")
    assert played.asked == []


def test_a_gpu_has_its_own_precisions(float_file, half_file, monkeypatch):
    PlayedRuntime(monkeypatch, takes="TensorrtExecutionProvider")
    assert open_session(half_file, device="tensorrt").precision == "fp16"
    with pytest.raises(ConfigError, match=r"is fp32 and ONNX Runtime executes fp32 on cuda; .* in fp16"):
        open_session(float_file, device="cuda", precision="fp16")


def test_a_batch_that_lies_on_the_gpu_is_run_and_waited_for(float_file, monkeypatch):
    played, calls = PlayedRuntime(monkeypatch, takes="CUDAExecutionProvider"), []
    binding = SimpleNamespace(
        bind_ortvalue_input=lambda name, value: calls.append(("input", value)),
        bind_output=lambda name, *where: calls.append(("output", *where)),
        synchronize_outputs=lambda: calls.append("waited"),
    )
    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_numpy", lambda batch, *where: (len(batch), *where))
    session = open_session(float_file, device="cuda:1")
    assert played.asked
    session._session.io_binding = lambda: binding
    session._session.get_outputs = lambda: [SimpleNamespace(name="logits")]
    session._session.run_with_iobinding = lambda bound: calls.append("ran")
    run = session.resident(np.zeros((2, 3, 32, 32), np.float32))
    assert calls == [("input", (2, "cuda", 1)), ("output", "cuda", 1)]
    run()
    run()
    assert calls[2:] == ["ran", "waited"] * 2


def test_what_would_fall_back_to_the_cpu_is_refused(float_file, int8_file, monkeypatch):
    quantized = int8_file("onnx")
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        with pytest.raises(ConfigError, match=r"device cuda wants .*CUDAExec.*; install onnxruntime-gpu"):
            open_session(float_file, device="cuda")
    PlayedRuntime(monkeypatch, takes="CPUExecutionProvider")
    with pytest.raises(ConfigError, match=r"took CPUExecutionProvider for .*net\.onnx where device cuda"):
        open_session(float_file, device="cuda")
    with pytest.raises(ConfigError, match="int8 files run on the CPU in ONNX Runtime, got device cuda"):
        open_session(quantized, device="cuda")
    with pytest.raises(ConfigError, match=r"net\.onnx runs on cpu or cuda or tensorrt, got device 'mps'"):
        open_session(float_file, device="mps")
