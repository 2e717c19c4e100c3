"""The process of one candidate: pins itself, opens a session, and runs it when told to. Imports no torch.

Started as `python -m mobileone.benchmarking.worker CORES`. Requests and answers are lines of JSON on stdin
and stdout; whatever a runtime prints goes to stderr. Between requests it sleeps in a read.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np

    from mobileone.backends.session import GpuSession, Session


def find(opener: str) -> Callable[..., Session]:
    """The function named `module:function`, or `file.py:function`.

    >>> find("json:dumps")([1])
    '[1]'
    """
    home, _, name = opener.rpartition(":")
    if not home.endswith(".py"):
        found: Callable[..., Session] = getattr(importlib.import_module(home), name)
        return found
    spec = importlib.util.spec_from_file_location(Path(home).stem, home)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, name)
    return found


def peak_bytes() -> int:
    """The most memory this process has ever held (resident set), bytes."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def pin(cores: Iterable[int]) -> bool:
    """Confine this process to these cores; whether the system can."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, cores)
    return True


class Worker:
    """Answers requests; every method that takes a dict is one."""

    session: Session
    inputs: np.ndarray[Any, Any]
    resident: Callable[[], None] | None = None

    def open(self, request: dict[str, Any]) -> dict[str, Any]:
        """Open the session and run it once.

        Request: `opener`, `options` for it, `inputs` (an .npy file), `started_ns` of the monotonic clock.
        """
        import numpy as np

        self.inputs = np.load(request["inputs"])
        idle = peak_bytes()
        before = time.monotonic_ns()
        self.session = find(request["opener"])(**request["options"])
        opened = time.monotonic_ns()
        self.session.run(self.inputs)
        first = time.monotonic_ns()
        return {
            "precision": self.session.precision,
            "runtime": self.session.runtime,
            "open_s": (opened - before) / 1e9,
            "first_s": (first - opened) / 1e9,
            "start_s": (first - request["started_ns"]) / 1e9,
            "idle_bytes": idle,
        }

    def time(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run `warmup` times, then `runs` times with the clock: `seconds` of each.

        With `on_device` without copies: the batch lies on the GPU, and each run waits for its logits there.
        """
        run: Callable[[], object] = partial(self.session.run, self.inputs)
        if request.get("on_device"):
            if self.resident is None:
                self.resident = cast("GpuSession", self.session).resident(self.inputs)
            run = self.resident
        clock = time.perf_counter
        for _ in range(request["warmup"]):
            run()
        seconds = []
        for _ in range(request["runs"]):
            start = clock()
            run()
            seconds.append(clock() - start)
        return {"seconds": seconds, "peak_bytes": peak_bytes()}

    def evaluate(self, request: dict[str, Any]) -> dict[str, Any]:
        """Logits of all `images` (an .npy file, one an entry), written to `logits`, an .npy file."""
        import numpy as np

        images = np.load(request["images"], mmap_mode="r")
        size = len(self.inputs)
        logits = []
        for start in range(0, len(images), size):
            batch = np.array(images[start : start + size])
            padding = np.zeros((size - len(batch), *batch.shape[1:]), batch.dtype)
            logits.append(self.session.run(np.concatenate([batch, padding]))[: len(batch)].copy())
        np.save(request["logits"], np.concatenate(logits))
        return {}


def main() -> None:
    """Pin this process, before anything else is imported, then serve until stdin ends."""
    pinned = pin(int(core) for core in sys.argv[1].split(","))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(request)
            answer["pinned"] = pinned
        except Exception as error:  # a runtime's own exceptions have no common base
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
