"""Memory of a training step: what it took, and what batch would have fitted."""

from __future__ import annotations

import contextlib
import gc
import math
import resource
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mobileone.input_spec import Size, size_text
from mobileone.training.method.step import TrainStep
from mobileone.training.watch.trial import Trial

OUT_OF_MEMORY = (
    "can't allocate memory",  # torch on a CPU
    "out of memory",  # CUDA itself, Triton, and NCCL ("Cuda failure 2 'out of memory'")
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUFFT_ALLOC_FAILED",
)
"""What errors say, by library."""

SAFETY = 0.9  # of what there was; allocators waste some


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made within the block and still alive.

    Attributes:
        bytes: now.
        peak: the most so far.

    >>> with LiveTensors() as live:
    ...     kept = torch.zeros(1000)
    ...     _ = torch.zeros(3000).sum()
    >>> live.peak >= 16_000, live.bytes < 5_000
    (True, True)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator, and note the storages of what it gives."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: Any) -> None:
            self.bytes -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, gone)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out. On a CPU, and from libraries beside torch's allocator, it is a RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)
    )


def peak_bytes(step: Callable[[int], None], batch_size: int, device: torch.device) -> tuple[int, bool]:
    """The most memory that a step of that many images had at once, and whether it came to its end.

    On a GPU all of the process's; on a CPU that of the tensors the step made.
    """
    live = LiveTensors()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with live:
        done = _goes_through(step, batch_size, device)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else live.peak
    return peak, done


def batch_that_fits(step: Callable[[int], None], *, batch_size: int, device: torch.device) -> int | None:
    """How many images a step could have had, where `batch_size` was too many: tried out, by halving.

    Args:
        step: runs forward and backward on that many images, holding nothing afterwards.
        batch_size: what did not fit.
        device: where it runs.

    Returns:
        1 … batch_size − 1, nine tenths of what fitted; None if nothing did, or if `batch_size` now does.

    >>> def step(size):  # room for 50 images
    ...     if size > 50:
    ...         raise MemoryError
    >>> batch_that_fits(step, batch_size=64, device=torch.device("cpu"))
    45
    """
    fits, fails = 0, batch_size
    if _goes_through(step, batch_size, device):
        return None
    while fails - fits > max(1, fits // 32):
        middle = (fits + fails) // 2
        if _goes_through(step, middle, device):
            fits = middle
        else:
            fails = middle
    return max(1, int(SAFETY * fits)) if fits else None


def parts_that_fit(
    step: Callable[[int], None], *, fewest: int, batch_size: int, device: torch.device
) -> int | None:
    """In how many parts a step fits, tried out from `fewest` on, an eighth more each time.

    Where `fewest` are too few, the answer has an eighth more parts than what fitted just so.

    Args:
        step: runs forward and backward in that many parts, holding nothing afterwards.
        fewest: what to try first.
        batch_size: images to part; a part has two at least, which BatchNorm wants.
        device: where it runs.

    Returns:
        A number of parts; None if none was found.

    >>> def step(parts):  # room for 20 images
    ...     if 64 / parts > 20:
    ...         raise MemoryError
    >>> parts_that_fit(step, fewest=2, batch_size=64, device=torch.device("cpu"))
    5
    """
    parts, margin = fewest, 0
    while 2 * parts <= batch_size:
        if _goes_through(step, parts, device):
            return min(parts + margin, batch_size // 2)
        margin = math.ceil(parts / 8)
        parts += margin
    return None


def _goes_through(step: Callable[[int], None], batch_size: int, device: torch.device) -> bool:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        step(batch_size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def what_would_have_fitted(step: TrainStep, *, size: Size, batch_size: int) -> str:
    """Why a run ends whose memory ran out in a step: the message, with the batch that would have fitted.

    Found by steps on this rank alone, of a fresh network; the run's own gradients are given up.

    Args:
        step: of the run, as it failed.
        size: of its images, pixels.
        batch_size: images a rank that the configuration asks for.
    """
    step.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    parts, device = step.accumulate, step.device
    total = math.ceil((step.step_images or batch_size) / step.dist.world_size)
    images = math.ceil(total / parts)
    trial = Trial.alone(step)
    fits = batch_that_fits(lambda count: trial(count * parts, size), batch_size=images, device=device)
    what = "batches" if parts == 1 else "parts"
    message = f"out of memory with {what} of {images} images of {size_text(size)} px on a rank; "
    if fits is None:
        return message + "lower batch_size or input_size, or raise accumulate"
    message += f"about {fits} would have fitted, as trials of smaller {what} tell: batch_size={fits * parts}"
    # Parts of that size need not fit: the whole batch waits beside them, and allocators do not give
    # everything back between them.
    more = parts_that_fit(
        lambda number: trial.in_parts(number)(total, size),
        fewest=math.ceil(total / fits),
        batch_size=total,
        device=device,
    )
    return message + (f", or accumulate={more}" if more else "")


def available_bytes(device: torch.device) -> int | None:
    """Memory that a step could still take, of the GPU, or of machine and container; None if unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # a limit of "max" is no number
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        found.append(limit - used)
    return min(found, default=None)


def peak_memory_gb(device: torch.device) -> float:
    """Peak memory in 1e9 bytes: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
