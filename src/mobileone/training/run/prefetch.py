"""Batches on their way to a GPU while the step before them is computed, and how long it had none."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator

import torch

from mobileone.data.loader import Batch


class Prefetched:
    """A loader's batches, each on the device before it is asked for; on a CPU as they are.

    The copy of the next batch is started on a stream of its own before this one is given out, so that it
    runs beside the step.

    Args:
        batches: in page-locked memory, for copies that do not wait.
        device: where they are wanted.
    """

    def __init__(self, batches: Iterable[Batch], device: torch.device) -> None:
        self.batches, self.device = batches, device

    def __iter__(self) -> Iterator[Batch]:
        if self.device.type != "cuda":
            yield from self.batches
            return
        stream = _copy_stream(self.device)
        ready: Batch | None = None
        for batch in self.batches:
            following = self._copied(batch, stream)
            if ready is not None:
                yield ready
            self._hand_over(following, stream)
            ready = following
        if ready is not None:
            yield ready

    def _copied(self, batch: Batch, stream: torch.cuda.Stream) -> Batch:
        with torch.cuda.stream(stream):
            images, labels = (
                value.to(self.device, non_blocking=True) for value in (batch.images, batch.labels)
            )
        return Batch(images, labels, batch.indices, batch.bad)

    def _hand_over(self, batch: Batch, stream: torch.cuda.Stream) -> None:
        """Let the step's stream wait for the copy, and tell the allocator that it uses the memory."""
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(stream)
        for value in (batch.images, batch.labels):
            value.record_stream(current)


@functools.cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all epochs: the allocator keeps memory for each stream that has asked for some."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Waits:
    """Batches, and how long a step waited for them.

    On a CPU, and as far as one can tell from it, that is the time the loader was waited for. A GPU works on
    meanwhile: only the time between the end of a step on it and the start of the next counts, by its own
    clock.

    Args:
        batches: to be gone through once.
        device: where the steps are computed.

    Attributes:
        seconds: so far; on a GPU, of the steps whose results have been read.
    """

    def __init__(self, batches: Iterable[Batch], device: torch.device) -> None:
        self.batches, self.seconds = batches, 0.0
        self._on_gpu = device.type == "cuda"
        self._end: torch.cuda.Event | None = None
        self._gaps: list[tuple[torch.cuda.Event, torch.cuda.Event, float]] = []

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.batches)
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            waited = time.perf_counter() - started
            if not self._on_gpu or self._end is None:
                self.seconds += waited
            if batch is None:
                return
            if self._end is not None:
                self._gaps.append((self._end, self._mark(), waited))
            yield batch
            if self._on_gpu:
                self._end = self._mark()

    def settle(self) -> None:
        """Take over the gaps between steps that the device has been through."""
        for end, start, waited in self._gaps:
            self.seconds += min(waited, 1e-3 * end.elapsed_time(start))
        self._gaps.clear()

    def _mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event
