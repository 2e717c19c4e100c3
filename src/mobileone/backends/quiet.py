"""Silence for converters that speak while they work."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator

_alone = threading.RLock()  # what is silenced is the whole process's


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings, no log lines, nothing on stdout or stderr, from native code either.

    What was said is added to the error where the work inside fails. Threads take turns.
    """
    with _alone, tempfile.TemporaryFile() as said, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = [(stream, os.dup(stream)) for stream in (1, 2)]
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        _flush()
        try:
            for stream, _ in saved:
                os.dup2(said.fileno(), stream)
            yield
        except Exception as error:
            _flush()
            said.seek(0)
            lines = said.read().decode(errors="replace").split("\n")
            if hasattr(error, "add_note"):  # from Python 3.11 on
                error.add_note("\n".join(lines[-20:]))
            raise
        finally:
            _flush()
            for stream, copy in saved:
                os.dup2(copy, stream)
                os.close(copy)
            logging.disable(before)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError):
            stream.flush()
