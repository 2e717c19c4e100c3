"""Work that runs ahead of its consumer, in threads, in order, and never too far."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T], *, workers: int, ahead: int) -> Iterator[R]:
    """Like `map`, with the next items already under way while the consumer is busy.

    Args:
        function: that releases the interpreter while it works (decoding an image does).
        items: read as they are needed.
        workers: threads.
        ahead: most results that wait at any time.

    >>> list(map_ahead(abs, [-1, 2, -3], workers=2, ahead=2))
    [1, 2, 3]
    """
    source = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting: deque[Future[R]] = deque(pool.submit(function, item) for item in islice(source, ahead))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(source, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
