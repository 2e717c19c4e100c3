"""Requests that wait are classified together: one thread runs the network, callers get their own answers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class QueueFullError(Exception):
    """So many wait already that one more would only wait in vain."""


class Batcher(Generic[T, R]):
    """A bounded queue before a function of many items.

    While the function runs, items come in; the next call takes all that wait, up to a batch. So single
    requests are answered at once, and many share a call, without a delay that somebody must choose.

    Args:
        function: results of items, in their order.
        batch_size: most items a call.
        queue_size: most items that wait.
        on_batch: told how many items a call takes.
    """

    def __init__(
        self,
        function: Callable[[Sequence[T]], Sequence[R]],
        *,
        batch_size: int,
        queue_size: int,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._function, self._batch_size, self._on_batch = function, batch_size, on_batch
        self._waiting: queue.Queue[tuple[T, Future[R]] | None] = queue.Queue()
        self._queue_size = queue_size
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return self._waiting.qsize()

    def submit(self, item: T) -> Future[R]:
        """The item's result, in future.

        Raises:
            QueueFullError: if the queue is full.
        """
        if len(self) >= self._queue_size:
            raise QueueFullError
        result: Future[R] = Future()
        self._waiting.put((item, result))
        return result

    def close(self) -> None:
        """Answer all that wait, then stop."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        is_open = True
        while is_open:
            batch: list[tuple[T, Future[R]]] = []
            entry = self._waiting.get()
            while True:
                if entry is None:
                    is_open = False
                    break
                if entry[1].set_running_or_notify_cancel():  # who gave up needs no answer
                    batch.append(entry)
                if len(batch) >= self._batch_size:
                    break
                try:
                    entry = self._waiting.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._answer(batch)

    def _answer(self, batch: Sequence[tuple[T, Future[R]]]) -> None:
        self._on_batch(len(batch))
        try:
            results = self._function([item for item, _ in batch])
        except BaseException as error:  # one call's failure is its callers', not the thread's
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)
