"""Converters are not heard, unless they fail."""

import logging
import os
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


def test_what_was_said_goes_with_the_error(capfd):
    with pytest.raises(ValueError, match="no such operator") as failed:
        fail()
    assert failed.value.__notes__ == ["line 7: what is this?"]
    assert capfd.readouterr().err == ""
    os.write(2, b"heard again")
    assert "heard again" in capfd.readouterr().err
