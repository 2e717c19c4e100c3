"""Work on many files, spread over processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

from mobileone.errors import ConfigError, DataError
from mobileone.processor import num_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], *, num_workers: int | None = None
) -> Iterator[Result]:
    """`work(item)` for every item, in order, as they are done.

    An exception of `work` ends it; what has not begun by then is not begun.

    Args:
        work: a function of a module, or a partial of one; it goes to every process once.
        items: what to work on; they and the results cross between processes.
        num_workers: processes; 0 works in this one. None is one for every core.

    Raises:
        ConfigError: if `num_workers` is negative.
        DataError: if a process died.

    >>> list(in_processes(len, ["a", "bc"], num_workers=0))
    [1, 2]
    """
    num_workers = num_cores() if num_workers is None else num_workers
    if num_workers < 0:
        raise ConfigError(f"workers must be 0 (work in this process) or more, got {num_workers}")
    num_workers = min(num_workers, len(items))
    if num_workers < 1:
        yield from map(work, items)
        return
    context = multiprocessing.get_context(start_method())
    pool = ProcessPoolExecutor(num_workers, context, initializer=_start_working, initargs=(work,))
    try:
        yield from pool.map(_work_on, items)
    except BrokenProcessPool as error:
        raise DataError(f"a worker process died ({error}); often memory ran out, try fewer workers") from None
    finally:
        pool.shutdown(cancel_futures=True)


_work: Callable[[Any], Any]


def _start_working(work: Callable[[Any], Any]) -> None:
    global _work
    start_worker()
    _work = work


def _work_on(item: Any) -> Any:
    return _work(item)


def start_method() -> str:
    """How worker processes start: from a fork server, where there is one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    # The server imports torch once, then every worker is a fork of it and starts in milliseconds.
    multiprocessing.set_forkserver_preload(["mobileone.data.loader"])
    return "forkserver"


def start_worker(*_: int) -> None:
    """What a worker process does first."""
    torch.set_num_threads(1)  # many workers with many threads each would fight for the cores
    # Ctrl-C is the main process's to answer; it ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_main_process, daemon=True).start()


def _end_with_the_main_process() -> None:
    # A worker's own parent is the fork server, which lives while a worker lives: without this both would
    # outlive a killed main process for ever, with all their memory.
    main_process = multiprocessing.parent_process()
    if main_process is not None:
        main_process.join()
        os._exit(1)
