"""Running out of memory, provoked, and the batch that would have fitted."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mobileone.data.folder import find_images
from mobileone.data.loader import Batch
from mobileone.errors import TrainingError
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.step import TrainStep
from mobileone.training.run import trainer as trainer_module
from mobileone.training.run.fit import fit
from mobileone.training.run.trainer import Trainer
from mobileone.training.watch.memory import (
    LiveTensors,
    available_bytes,
    batch_that_fits,
    is_out_of_memory,
    parts_that_fit,
)
from mobileone.training.watch.trial import Trial

LIMITED = """
import json, resource, sys, torch
from mobileone.training.config.train_config import TrainConfig
from mobileone.ranks.distributed import Distributed
from mobileone.training.run.fit import fit

torch.set_num_threads(1)
config = TrainConfig.from_dict(json.loads(sys.argv[1]))
warm = config.with_values({"batch_size": 2, "accumulate": 1})
fit(warm, run_dir=sys.argv[2] + "/warm", progress=False)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000,) * 2)
try:
    fit(config, run_dir=sys.argv[2] + "/run", progress=False)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
else:
    print("fits")
"""


@pytest.mark.slow
def test_fault_out_of_memory_says_what_would_have_fitted(config: TrainConfig, tmp_path: Path) -> None:
    script = tmp_path / "limited.py"
    script.write_text(LIMITED)
    big = config.with_values(
        {
            "data": "digits",
            "input_spec.size": 96,
            "batch_size": 1024,
            "epochs": 1,
            "saving.checkpoint_every": "none",
        }
    )

    def run(batch_size: int, name: str, accumulate: int = 1) -> str:
        text = json.dumps(
            big.with_values({"batch_size": batch_size, "compute.accumulate": accumulate}).to_dict()
        )
        done = subprocess.run(
            [sys.executable, script, text, tmp_path / name],
            # The limit counts addresses. By itself glibc serves tensors below 32 MB from a heap that it
            # does not give back in between, so that parts of a batch may take more than a larger batch.
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    message = run(1024, "full")
    match = re.fullmatch(
        r"TrainingError: out of memory with batches of 1024 images of 96 px on a rank; "
        r"about (\d+) would have fitted, as trials of smaller batches tell: batch_size=\1, "
        r"or accumulate=(\d+)\n",
        message,
    )
    assert match, message
    fits = int(match[1])
    assert 64 < fits < 1024
    assert run(fits, "fitting") == "fits\n"
    assert run(1024, "in parts", int(match[2])) == "fits\n"
    assert "out of memory" in run(min(3 * fits, 1437), "again")  # the guard's twin: much more does not


def test_out_of_memory_without_trials_that_fail_gives_plain_advice(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, batch: object, **options: float) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(trainer_module.TrainStep, "__call__", full)
    message = (
        "out of memory with batches of 8 images of 32 px on a rank; lower batch_size or input_size, "
        "or raise accumulate"
    )
    with pytest.raises(TrainingError, match=message):
        fit(config, run_dir=tmp_path / "run", progress=False)


def test_a_trial_measures_what_a_step_holds(config: TrainConfig) -> None:
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    trial = Trial.alone(trainer.step)

    def step(count: int) -> None:
        trial(count, 32)

    peaks = []
    for size in (8, 16, 32):
        with LiveTensors() as live:
            step(size)
        peaks.append(live.peak)
        assert live.bytes < live.peak / 4
    assert peaks[2] - peaks[1] == pytest.approx(2 * (peaks[1] - peaks[0]), rel=0.02)  # a straight line
    assert batch_that_fits(step, batch_size=16, device=torch.device("cpu")) is None  # it does fit


def test_a_trial_in_parts_holds_the_whole_batch_beside_one(config: TrainConfig) -> None:
    trial = Trial.alone(Trainer(config, find_images(config.data, split="train"), Distributed()).step)

    def peak(count: int, parts: int) -> int:
        with LiveTensors() as live:
            trial.in_parts(parts)(count, 32)
        return live.peak

    waiting = (32 - 8) * 3 * 32 * 32
    assert peak(8, 1) + waiting <= peak(32, 4) < peak(16, 1)


def test_the_accumulate_that_is_advised_was_tried(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TrainStep.__call__

    def step(self: TrainStep, batch: Batch, **options: float) -> object:
        room = 8 if self.accumulate == 1 else 4  # parts leave something behind
        if len(batch) / self.accumulate > room:
            raise MemoryError
        return real(self, batch, **options)

    monkeypatch.setattr(trainer_module.TrainStep, "__call__", step)
    full = config.with_values({"batch_size": 16})
    with pytest.raises(TrainingError, match=r"about 7 would have fitted, .* batch_size=7, or accumulate=5$"):
        fit(full, run_dir=tmp_path / "run", progress=False)
    parts = full.with_values({"compute.accumulate": 3})
    message = r"with parts of 6 images of 32 px .* smaller parts tell: batch_size=9, or accumulate=6$"
    with pytest.raises(TrainingError, match=message):
        fit(parts, run_dir=tmp_path / "in parts", progress=False)
    fit(full.with_values({"compute.accumulate": 5}), run_dir=tmp_path / "advised", progress=False)


@pytest.mark.parametrize(("room", "parts"), [(32, 3), (20, 5), (7, 13), (1, None)])
def test_the_parts_that_fit_are_few_with_a_margin(room: int, parts: int | None) -> None:
    def step(number: int) -> None:
        if 64 / number > room:
            raise MemoryError

    assert parts_that_fit(step, fewest=3, batch_size=64, device=torch.device("cpu")) == parts


@pytest.mark.parametrize("room", [0, 1, 2, 37, 500, 1023])
def test_the_batch_that_would_have_fitted_fits_and_is_nearly_the_largest(room: int) -> None:
    def step(size: int) -> None:
        if size > room:
            raise MemoryError

    found = batch_that_fits(step, batch_size=1024, device=torch.device("cpu"))
    if room == 0:
        assert found is None
    else:
        assert found is not None
        assert 0.85 * room - 1 <= found <= room


def test_available_memory_is_a_number_here() -> None:
    found = available_bytes(torch.device("cpu"))
    assert found is None or 1e6 < found < 1e14


@pytest.mark.parametrize(
    "text",
    [
        "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to ...",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "NCCL Error 1: unhandled cuda error ... Cuda failure 2 'out of memory'",
        "Triton Error [CUDA]: out of memory",
    ],
)
def test_every_library_s_out_of_memory_is_recognised(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(ValueError(text))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
