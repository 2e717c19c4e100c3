"""PyTorch as the clock: the model runs eagerly, and PyTorch's profiler times each operator it dispatches."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, record_function
from torch.utils._python_dispatch import TorchDispatchMode

from mobileone.errors import ProfileError
from mobileone.profiling.clock import CHUNK_RUNS, WARMUP_RUNS, Measurement, interquartile_mean
from mobileone.profiling.operator import Operator
from mobileone.profiling.trace import operand_of, operator_by_operator, trace

RANGE = "mobileone::"


class _Ranges(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Puts a profiler range around every operator, numbered in order of execution."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with record_function(f"{RANGE}{self.count}"):
            out = func(*args, **(kwargs or {}))
        self.count += 1
        return out


class TorchClock:
    """Times a module on its input's device.

    Args:
        model: in eval mode.
        x: its positional arguments.
        threads: of PyTorch on the CPU; set for the whole process while it measures.
    """

    def __init__(self, model: nn.Module, x: tuple[Any, ...], *, threads: int) -> None:
        self.model, self.x, self.threads = model, x, threads
        self.device = next((t.device for t in x if isinstance(t, Tensor)), torch.device("cpu"))
        self.operators = trace(model, x)
        self.times: list[list[float]] = [[] for _ in self.operators]
        self.latencies: list[float] = []
        with self._threads():
            for _ in range(WARMUP_RUNS):
                self._run()
            self._profile(2)
        for times in self.times:
            times.clear()

    @contextmanager
    def _threads(self) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with operator_by_operator():
                yield
        finally:
            torch.set_num_threads(before)

    def _run(self) -> float:
        self._synchronize()
        start = time.perf_counter()
        self.model(*self.x)
        self._synchronize()
        return 1e3 * (time.perf_counter() - start)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def measure(self, runs: int) -> None:
        """Time that many more runs, and as many without the profiler."""
        with self._threads():
            for start in range(0, runs, CHUNK_RUNS):
                chunk = min(CHUNK_RUNS, runs - start)
                self._profile(chunk)
                self.latencies.extend(self._run() for _ in range(chunk))

    def _profile(self, runs: int) -> None:
        on_cuda = self.device.type == "cuda"
        # Else the profiler's library tells stderr whenever it starts and stops.
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
        with torch.profiler.profile(activities=activities) as profiler:
            for _ in range(runs):
                ranges = _Ranges()
                with ranges:
                    self.model(*self.x)
                if ranges.count != len(self.operators):
                    raise ProfileError(
                        f"{type(self.model).__name__} ran {ranges.count} operators after "
                        f"{len(self.operators)} before: it cannot be timed operator by operator"
                    )
            self._synchronize()
        for event in profiler.events() or ():
            if event.name.startswith(RANGE) and event.device_type.name == "CPU":
                spent = event.device_time_total if on_cuda else event.cpu_time_total
                self.times[int(event.name.removeprefix(RANGE))].append(spent / 1e3)

    def finish(self) -> Measurement:
        """Operators with their times, and the whole runs; all that was measured so far."""
        timed = [
            Operator(op.name, op.kind, op.layer, op.inputs, op.outputs, interquartile_mean(times))
            for op, times in zip(self.operators, self.times, strict=True)
        ]
        return Measurement(
            operators=tuple(timed),
            operator_sums_ms=tuple(sum(run) for run in zip(*self.times, strict=True)),
            latencies_ms=tuple(self.latencies),
            num_parameters=sum(p.numel() for p in self.model.parameters()),
            inputs=tuple(operand_of(t) for t in self.x if isinstance(t, Tensor)),
        )
