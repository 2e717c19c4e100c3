"""What a command writes to, and what ends it from outside: streams that are safe to look at, and signals."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO, cast

from mobileone.errors import MobileOneError
from mobileone.outside_text import printable_lines

CURSOR_UP = "\x1b[A"  # what tqdm writes, alone, to keep one bar above another
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class SafeStream:
    """A text stream for people: what a terminal would obey is escaped, so is what it cannot show.

    Names of files and classes come from anywhere, and any line may hold one; so this is done here, once, and
    not at every print. Every write that fails is an error of ours on stdout, and nothing on stderr.

    Args:
        stream: where it goes; None is one that was closed before the program began.
        name: what the error calls it; None swallows what fails.

    Attributes:
        failed: whether something could not be written; what comes after that goes nowhere.
    """

    def __init__(self, stream: TextIO | None, name: str | None) -> None:
        self._is_closed, self.failed, self._name = stream is None, False, name
        self._stream = io.StringIO() if stream is None else stream

    def write(self, text: str) -> int:
        """Write a piece of text.

        Raises:
            MobileOneError: if it cannot be written.
            BrokenPipeError: if the reader has gone.
        """
        if text != CURSOR_UP:
            text = printable_lines(text)
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        with self._failures():
            if self._is_closed:
                raise OSError(0, "it is closed")
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written.

        Raises:
            MobileOneError: if it cannot be written.
            BrokenPipeError: if the reader has gone.
        """
        with self._failures():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # a ValueError: the file was closed meanwhile
            if self._name is None or self.failed:
                return
            self.failed = True
            if isinstance(error, BrokenPipeError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise MobileOneError(f"cannot write to {self._name}: {reason}") from error


@contextmanager
def safe_streams() -> Iterator[None]:
    """Print through `SafeStream` for a while; at the end everything has been written."""
    out, err = sys.stdout, sys.stderr
    if out is None or err is None:  # else the next file that is opened would be standard output
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)
    safe = SafeStream(out, "standard output")
    sys.stdout, sys.stderr = cast(TextIO, safe), cast(TextIO, SafeStream(err, None))
    try:
        yield
        safe.flush()
    finally:
        sys.stderr.flush()
        sys.stdout, sys.stderr = out, err
        if safe.failed:  # else the interpreter tries again at its end, and complains
            with suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


class Terminated(BaseException):
    """SIGTERM or SIGHUP has come; like KeyboardInterrupt, no `except Exception` takes it.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def cleaned_up_on_signals() -> Iterator[None]:
    """Let these signals raise `Terminated` for a while, so that unfinished files go; a second one kills.

    Not where somebody else has a handler or ignores them, nor under torchrun, which may end a rank that waits
    for another one within a library.
    """
    ours = threading.current_thread() is threading.main_thread() and "TORCHELASTIC_RUN_ID" not in os.environ
    taken = [number for number in SIGNALS if ours and signal.getsignal(number) is signal.SIG_DFL]

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated(number)

    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
