"""A worker seen from here: started, asked, and outlived if it crashes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from mobileone.errors import MobileOneError

# A compiler may take minutes to start; nothing else should.
OPEN_TIMEOUT_S = 600.0
# Libraries read these when they are loaded; a shell's own settings must not change what is measured.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CLEARED_VARIABLES = ("OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


class WorkerError(MobileOneError):
    """A worker crashed, or its runtime refused; the message is the reason for the table."""


class WorkerProcess:
    """One worker.

    Args:
        cores: that it is pinned to; its libraries are told to use as many threads.
        environment: variables to set on top of this process's own.
    """

    def __init__(self, cores: Sequence[int], *, environment: dict[str, str] | None = None) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in CLEARED_VARIABLES}
        threads = dict.fromkeys(THREAD_VARIABLES, str(len(cores)))
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        self.started_ns = time.monotonic_ns()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mobileone.benchmarking.worker", ",".join(map(str, cores))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            env=inherited | threads | (environment or {}),
        )

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, do: str, *, timeout_s: float = OPEN_TIMEOUT_S, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            WorkerError: if the runtime refuses, the process dies, or takes too long (it is then killed).
        """
        assert self._process.stdin is not None
        line = b""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
            self._process.stdin.flush()
            line = self._answer(timeout_s)
        if not line.endswith(b"\n"):
            raise WorkerError(self._epitaph())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def _answer(self, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        if not ready:
            self._process.kill()
            raise WorkerError(f"no answer within {timeout_s:.0f} s; killed")
        return self._process.stdout.readline()

    def _epitaph(self) -> str:
        code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            reason = f"crashed with {name}"
            if name == "SIGKILL":
                reason += " (the machine may be out of memory)"
        else:
            reason = f"exited with code {code}"
        self._messages.seek(0)
        lines = self._messages.read()[-4000:].decode(errors="replace").strip().splitlines()
        return f"{reason}: {lines[-1][:200]}" if lines else reason

    def close(self) -> None:
        """End the process; it gets two seconds to go by itself."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._messages.close()
