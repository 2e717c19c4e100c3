"""Streams that are safe to look at, and what happens where they cannot be written; signals that clean up."""

import io
import os
import signal
import subprocess
import sys

import pytest

from mobileone.cli.main import guard
from mobileone.cli.terminal import SafeStream, Terminated, cleaned_up_on_signals
from mobileone.errors import MobileOneError

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b1m\u202e"


def test_whatever_a_command_prints_commands_no_terminal(capsys):
    def work():
        print(f"result {HOSTILE}")
        print(f"progress {HOSTILE}", file=sys.stderr)
        raise MobileOneError(f"error {HOSTILE}")

    assert guard(work, prog="mobileone") == 1
    out, err = capsys.readouterr()
    escaped = r"\x1b]0;owned\x07\x1b[2J\x9b1m\u202e"
    assert out == f"result {escaped}\n"
    assert err == f"progress {escaped}\nmobileone: error: error {escaped}\n"


def test_what_a_terminal_cannot_show_is_escaped():
    raw = io.BytesIO()
    stream = SafeStream(io.TextIOWrapper(raw, encoding="ascii"), "it")
    print("é 猫 \ud800", file=stream, flush=True)
    assert raw.getvalue() == rb"\xe9 \u732b \ud800" + b"\n"


def test_a_progress_bar_keeps_its_moves():
    text = io.StringIO()
    stream = SafeStream(text, "it")
    stream.write("\r50 %\t")
    stream.write("\x1b[A")
    assert text.getvalue() == "\r50 %\t\x1b[A"


def shell(command, **environment):
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
@pytest.mark.parametrize(
    ("redirection", "reason"),
    [("> /dev/full", "No space left on device"), (">&-", "it is closed"), ("> /dev/full 2>&1", None)],
)
def test_a_full_or_closed_standard_output_is_one_line(redirection, reason):
    done = shell(f"{sys.executable} -m mobileone weights {redirection}")
    assert done.returncode == 1
    line = f"mobileone: error: cannot write to standard output: {reason}\n"
    assert done.stderr == (line if reason else "")


def test_a_closed_standard_error_is_no_error():
    done = shell(f"{sys.executable} -m mobileone info mobileone_s0 --json 2>&-")
    assert done.returncode == 0
    assert done.stdout.startswith("{")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_lets_unfinished_files_go(name, capsys, tmp_path):
    number = getattr(signal, name)

    def work():
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            (tmp_path / "cleaned").touch()

    before = signal.signal(number, signal.SIG_DFL)  # ignored where the tests run under nohup
    try:
        assert guard(work, prog="mobileone") == 128 + number
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == f"mobileone: stopped by {name}\n"
    assert (tmp_path / "cleaned").exists()


def test_signals_that_somebody_else_handles_stay_theirs(monkeypatch):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with cleaned_up_on_signals():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with cleaned_up_on_signals():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_second_signal_kills(tmp_path):
    code = """
import os, signal, time
from mobileone.cli.terminal import Terminated, cleaned_up_on_signals
with cleaned_up_on_signals():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except Terminated:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -signal.SIGTERM
    assert issubclass(Terminated, BaseException)
    assert not issubclass(Terminated, Exception)
