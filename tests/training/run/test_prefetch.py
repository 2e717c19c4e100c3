"""Batches ahead of the step, and the wait for them, with a GPU's streams and events played."""

import functools
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from mobileone.data.loader import Batch
from mobileone.training.run import prefetch
from mobileone.training.run.prefetch import Prefetched, Waits

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def batches(count):
    for number in range(count):
        yield Batch(
            torch.full((1, 3, 2, 2), number), torch.tensor([number]), torch.tensor([number]), [number]
        )


def test_on_a_cpu_batches_are_as_they_are():
    given = list(batches(3))
    assert [got is wanted for got, wanted in zip(Prefetched(given, CPU), given, strict=True)] == [True] * 3


def test_on_a_gpu_the_next_copy_starts_before_a_batch_is_given_out(monkeypatch):
    told = []
    current = SimpleNamespace(wait_stream=lambda stream: told.append("wait"))
    monkeypatch.setattr(prefetch, "_copy_stream", lambda device: "side")
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext(told.append("copy")))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: None)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device, non_blocking: self.clone())
    seen = []
    for batch in Prefetched(batches(3), CUDA):
        told.append("step")
        seen.append((batch.labels.item(), batch.indices.item(), batch.bad))
    assert told == ["copy", "wait", "copy", "step", "wait", "copy", "step", "wait", "step"]
    assert seen == [(n, n, [n]) for n in range(3)]


def test_all_epochs_copy_on_one_stream(monkeypatch):
    """The allocator keeps memory for each stream that has asked for some."""
    monkeypatch.setattr(prefetch, "_copy_stream", functools.cache(prefetch._copy_stream.__wrapped__))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
    streams = [prefetch._copy_stream(device) for device in (CUDA, CUDA, torch.device("cuda", 1))]
    assert streams[0] is streams[1] is not streams[2]


def test_no_batches_are_no_steps():
    assert list(Prefetched(iter(()), CPU)) == []


def test_on_a_cpu_all_waiting_counts(monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 11.0, 20.0, 20.5])
    monkeypatch.setattr(prefetch.time, "perf_counter", lambda: next(clock))
    waits = Waits(batches(2), CPU)
    assert len(list(waits)) == 2
    waits.settle()
    assert waits.seconds == 3.5


@pytest.mark.parametrize(("gap_ms", "wanted"), [(0.0, 2.0), (300.0, 2.3), (5000.0, 3.0)])
def test_on_a_gpu_only_the_time_without_work_counts(monkeypatch, gap_ms, wanted):
    """The first batch was waited for two seconds, the second one second; the GPU had no work for `gap_ms`."""
    clock = iter([0.0, 2.0, 10.0, 11.0, 20.0, 20.5])
    monkeypatch.setattr(prefetch.time, "perf_counter", lambda: next(clock))
    event = SimpleNamespace(record=lambda: None, elapsed_time=lambda other: gap_ms)
    monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: event)
    waits = Waits(batches(2), CUDA)
    assert len(list(waits)) == 2
    assert waits.seconds == 2.0, "nothing is asked of the device before it is read"
    waits.settle()
    waits.settle()
    assert waits.seconds == pytest.approx(wanted)
