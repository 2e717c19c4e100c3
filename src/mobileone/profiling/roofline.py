"""What this machine can do at best, measured by large matmuls and copies, and what bounds an operator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from mobileone.profiling.clock import ClockName
from mobileone.profiling.conventions import count_macs, traffic
from mobileone.profiling.operator import Operator
from mobileone.telemetry import import_silent

if TYPE_CHECKING:
    import torch

Limit = Literal["arithmetic", "memory"]

MATMUL_SIZES = (512, 1024, 2048)
# Read and written together. The small ones stay in the processor's caches, as most layers' features do.
COPY_BYTES = tuple(2**20 * n for n in (1, 4, 16, 64, 256))
# Products that take longer run without the processor's own arithmetic, as float16 often does: larger ones are
# no faster, and would take minutes.
SLOW_SECONDS = 0.25
MIN_SECONDS = 0.1
MIN_REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Measured ceilings.

    Attributes:
        peak_gflops: of the fastest large matmul, 1e9 FLOP a second (a multiply-accumulate is 2).
        peak_source: which matmul that was.
        copies: (bytes read and written, GB of 1e9 a second) of copies, by size.
    """

    peak_gflops: float
    peak_source: str
    copies: tuple[tuple[int, float], ...]

    def bandwidth(self, size_bytes: int) -> float:
        """GB/s of the fastest copy that moves at least so many bytes; of the largest one beyond that.

        >>> machine = Machine(peak_gflops=100, peak_source="", copies=((1000, 80.0), (9000, 20.0)))
        >>> machine.bandwidth(500), machine.bandwidth(2000), machine.bandwidth(10**6)
        (80.0, 20.0, 20.0)
        """
        return max((speed for moved, speed in self.copies if moved >= size_bytes), default=self.copies[-1][1])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Bound:
    """The least time that the ceilings allow.

    Attributes:
        arithmetic_ms: all multiply-accumulates at the peak.
        memory_ms: all bytes at the speed of a copy as large.
    """

    arithmetic_ms: float
    memory_ms: float

    @property
    def time_ms(self) -> float:
        """The larger of the two: neither can hide behind more than the other."""
        return max(self.arithmetic_ms, self.memory_ms)

    @property
    def limit(self) -> Limit:
        """Which of the two it is."""
        return "arithmetic" if self.arithmetic_ms > self.memory_ms else "memory"


def bound_of(op: Operator, machine: Machine) -> Bound:
    """The bound of one operator on a machine.

    >>> from mobileone.profiling.operator import Operand
    >>> machine = Machine(peak_gflops=1, peak_source="", copies=((1000, 1.0),))
    >>> relu = Operator("relu", "Relu", "", (Operand((1000,)),), (Operand((1000,)),))
    >>> bound_of(relu, machine)
    Bound(arithmetic_ms=0.0, memory_ms=0.008)
    """
    moved = traffic(op).total
    arithmetic = 2 * (count_macs(op) or 0) / machine.peak_gflops / 1e6
    return Bound(arithmetic, moved / machine.bandwidth(moved) / 1e6)


def _best_seconds(work: Callable[[], object]) -> float:
    """The shortest of some runs: what disturbs a ceiling can only make it slower."""
    work()
    best, spent, repeats = float("inf"), 0.0, 0
    while spent < MIN_SECONDS or repeats < MIN_REPEATS:
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        best, spent, repeats = min(best, seconds), spent + seconds, repeats + 1
    return best


def measure_machine(clock: ClockName, device: torch.device, *, threads: int) -> Machine:
    """Measure the ceilings in float32 with as many threads as the network gets, in some 3 seconds.

    The peak is the fastest of square matmuls by PyTorch and, where that is the clock, by ONNX Runtime.
    """
    import torch

    candidates: list[tuple[float, str]] = []
    for _ in _thread_counts(threads):
        candidates += _torch_matmuls(device, torch.float32)
    if clock == "onnxruntime":
        candidates += [_onnx_matmul(size, threads) for size in MATMUL_SIZES]
    peak, source = max(candidates)
    return Machine(peak_gflops=peak, peak_source=source, copies=measure_copies(device, threads=threads))


def measure_copies(device: torch.device, *, threads: int) -> tuple[tuple[int, float], ...]:
    """(bytes read and written, GB/s) of PyTorch's copies, by size: the ceilings of memory and caches."""
    speeds: dict[int, float] = dict.fromkeys(COPY_BYTES, 0.0)
    for _ in _thread_counts(threads):
        for size in COPY_BYTES:
            speeds[size] = max(speeds[size], _copy_speed(size, device))
    return tuple(speeds.items())


def measure_matmul(dtype: torch.dtype, *, threads: int) -> tuple[float, str]:
    """(GFLOP/s, name) of PyTorch's fastest large matmul of that dtype on the CPU.

    Raises:
        RuntimeError: if PyTorch has no matmul of that dtype.
    """
    import torch

    cpu = torch.device("cpu")
    return max(found for _ in _thread_counts(threads) for found in _torch_matmuls(cpu, dtype))


def _thread_counts(threads: int) -> Iterator[None]:
    """PyTorch with that many threads and with one, which may be faster where threads must wait."""
    import torch

    before = torch.get_num_threads()
    try:
        for number in sorted({1, threads}):
            torch.set_num_threads(number)
            yield
    finally:
        torch.set_num_threads(before)


def _torch_matmuls(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[float, str]]:
    """(GFLOP/s, name) of growing products, until one is slow."""
    for size in MATMUL_SIZES:
        seconds, name = _torch_matmul(size, device, dtype)
        yield 2 * size**3 / seconds / 1e9, name
        if seconds > SLOW_SECONDS:
            return


def _torch_matmul(size: int, device: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    """(seconds, name)."""
    import torch

    a, b, out = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(3))

    def work() -> None:
        torch.mm(a, b, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    kind = "" if dtype == torch.float32 else f" {str(dtype).removeprefix('torch.')}"
    return _best_seconds(work), f"PyTorch matmul {size}×{size}×{size}{kind}"


def _copy_speed(size_bytes: int, device: torch.device) -> float:
    import torch

    source = torch.ones(size_bytes // 8, device=device)
    target = torch.empty_like(source)

    def work() -> None:
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return size_bytes / _best_seconds(work) / 1e9


def _onnx_matmul(size: int, threads: int) -> tuple[float, str]:
    import numpy as np
    import onnx

    ort = import_silent("onnxruntime")

    make, ones = onnx.helper, np.ones((size, size), dtype=np.float32)
    graph = make.make_graph(
        [make.make_node("MatMul", ["x", "w"], ["y"])],
        "matmul",
        [make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [size, size])],
        [make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [size, size])],
        [onnx.numpy_helper.from_array(ones, "w")],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    seconds = _best_seconds(lambda: session.run(None, {"x": ones}))
    return 2 * size**3 / seconds / 1e9, f"ONNX Runtime MatMul {size}×{size}×{size}"
