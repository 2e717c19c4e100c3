"""Converters are not heard, unless they fail."""

import logging
import os
import threading
import warnings

import pytest

from mobileone.backends.quiet import quiet


def fail():
    with quiet():
        os.write(2, b"line 7: what is this?")
        raise ValueError("no such operator")


def test_nothing_is_heard_and_all_is_as_before(capfd, caplog):
    with quiet():
        os.write(1, b"from native code")
        os.write(2, b"and to stderr")
        warnings.warn("a warning", stacklevel=1)
        logging.getLogger("converter").warning("a log line")
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    os.write(1, b"heard again")
    logging.getLogger("converter").warning("a log line")
    assert capfd.readouterr().out == "heard again"
    assert len(caplog.records) == 1


def test_threads_take_turns(capfd, caplog):
    inside, other_inside = threading.Event(), threading.Event()

    def first():
        with quiet():
            inside.set()
            other_inside.wait(0.3)

    def second():
        inside.wait()
        with quiet():
            other_inside.set()
            threads[0].join(0.3)

    threads = [threading.Thread(target=run) for run in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(1, b"heard again")
    logging.getLogger("converter").warning("a log line")
    assert capfd.readouterr().out == "heard again"
    assert len(caplog.records) == 1


def test_what_was_said_goes_with_the_error(capfd):
    with pytest.raises(ValueError, match="no such operator") as failed:
        fail()
    assert failed.value.__notes__ == ["line 7: what is this?"]
    assert capfd.readouterr().err == ""
    os.write(2, b"heard again")
    assert "heard again" in capfd.readouterr().err
