"""PyTorch itself as a candidate."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mobileone.benchmarking.baselines import (
    BASELINES,
    DTYPES,
    Baseline,
    BaselineSession,
    baseline_precisions,
    baselines_on,
    open_baseline,
)
from mobileone.checkpoint.store import save_model
from mobileone.reparam.expand import expand


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# Compiled: as slow to start as its name says; a whole benchmark runs it (tests/cli/test_bench.py).
@pytest.mark.parametrize(
    "name", [name for name, each in BASELINES.items() if not each.compiled and not each.graph]
)
def test_each_gives_the_networks_logits(model, tmp_path, name):
    form = BASELINES[name].form
    path = save_model(model if form == "inference" else expand(model), tmp_path / "m.safetensors")
    session = open_baseline(str(path), name=name, threads=1)
    batch = np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(session.run(batch), wanted, rtol=1e-4, atol=1e-5)
    assert (session.precision, session.runtime) == ("fp32", f"PyTorch {torch.__version__}")
    assert torch.get_num_threads() == 1


def test_channels_last_weights_are_laid_out_so(model, tmp_path):
    path = save_model(model, tmp_path / "m.safetensors")
    session = open_baseline(str(path), name="PyTorch fused, channels_last", threads=1)
    weight = next(p for p in session.model.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_a_gpu_has_a_way_more_and_narrow_precisions():
    assert set(baselines_on("cuda:0")) - set(baselines_on("cpu")) == {"PyTorch CUDA graph"}
    assert (baseline_precisions("cpu"), baseline_precisions("cuda:0")) == (
        ("fp32",),
        ("fp32", "fp16", "bf16"),
    )


@pytest.mark.parametrize("precision", DTYPES)
def test_it_computes_in_the_precision_that_it_says(model, precision):
    session = BaselineSession(model, Baseline(channels_last=True), precision=precision)
    seen = []
    session.model.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    logits = session.run(np.zeros((1, 3, 32, 32), np.float32))
    assert session.precision == precision
    assert seen == [getattr(torch, DTYPES[precision])]
    assert logits.dtype == np.float32


@pytest.fixture
def played_cuda(monkeypatch):
    """CUDA's graphs and waiting, on the CPU: what was called, in order."""
    calls = []

    @contextmanager
    def inside(what, *_):
        calls.append(f"{what} begins")
        yield
        calls.append(f"{what} ends")

    stream = SimpleNamespace(wait_stream=lambda other: calls.append("one stream waits for the other"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: inside("stream"))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: inside("recording"))
    monkeypatch.setattr(
        torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: calls.append("replayed"))
    )
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append(f"waited for {device}"))
    return calls


def test_a_batch_that_lies_there_is_waited_for_once_a_run(model, played_cuda):
    session = BaselineSession(model, BASELINES["PyTorch fused"])
    run = session.resident(np.zeros((2, 3, 32, 32), np.float32))
    assert played_cuda == [], "nothing runs before it is told to"
    run()
    run()
    assert played_cuda == ["waited for cpu"] * 2


def test_a_cuda_graph_is_recorded_once_and_replayed_with_each_batch(model, played_cuda):
    session = BaselineSession(model, BASELINES["PyTorch CUDA graph"])
    ran = []
    session.model.register_forward_hook(lambda module, inputs, output: ran.append(inputs[0]))
    first, second = (np.full((2, 3, 32, 32), value, np.float32) for value in (0, 1))
    session.run(first)
    assert len(ran) == 4, "three times to warm up, then as it is recorded"
    assert len({x.data_ptr() for x in ran}) == 1, "in memory that stays"
    assert played_cuda.count("recording begins") == played_cuda.count("replayed") == 1
    recording = played_cuda.index("recording begins")
    assert (
        played_cuda.index("stream ends") < played_cuda.index("one stream waits for the other", 2) < recording
    )
    session.run(second)
    assert len(ran) == 4
    assert played_cuda.count("replayed") == 2
    assert bool((ran[0] == 1).all()), "the second batch is where the recorded launches read"


@pytest.mark.gpu
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", baselines_on("cuda"))
def test_each_gives_the_networks_logits_on_a_gpu(model, tmp_path, name, precision):
    source = expand(model) if BASELINES[name].form == "train" else model
    path = save_model(source, tmp_path / "m.safetensors")
    session = open_baseline(str(path), name=name, threads=1, precision=precision, device="cuda:0")
    noise = np.random.default_rng(0)
    for _ in range(2):
        batch = noise.standard_normal((2, 3, 32, 32), dtype=np.float32)
        with torch.inference_mode():
            wanted = model(torch.from_numpy(batch)).numpy()
        bound = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 1e-1}[precision] * abs(wanted).max()
        np.testing.assert_allclose(session.run(batch), wanted, atol=bound, rtol=0)
    session.resident(batch)()
    assert session.precision == precision
