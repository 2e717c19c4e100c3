"""Being told to stop: SIGTERM and SIGUSR1, which schedulers send some time before they kill."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

REQUEUE = 75
"""Exit code of a run that was told to stop and has been saved: sysexits' EX_TEMPFAIL, "try again later"."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopSignal:
    """Whether one has come.

    Attributes:
        received: its name, or None.
    """

    def __init__(self) -> None:
        self.received: str | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note the signals instead of dying of them, until the end of the block.

        In a thread other than the main one, where Python allows no handlers, they keep their effect.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        signal.signal(number, signal.SIG_DFL)  # the same signal again ends the process at once
