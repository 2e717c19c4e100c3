"""One bar: on stderr, hidden when told, seldom redrawn in a log file."""

import io
import sys

from mobileone.progress_bar import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_hidden_bar_gives_the_items_and_says_nothing(capsys):
    assert list(progress_bar("abc", title="reading", unit="letter", hidden=True)) == list("abc")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_it_names_itself_and_vanishes(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = progress_bar(range(3), title="reading", unit="letter", hidden=False)
    assert list(bar) == [0, 1, 2]
    assert "reading" in terminal.getvalue()
    assert terminal.getvalue().rstrip(" ").endswith("\r"), "its line is blank again"
    assert capsys.readouterr().out == ""


def test_a_short_wait_leaves_no_trace_in_a_log_file(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    bar = progress_bar(range(3), title="reading", unit="letter", hidden=False)
    assert list(bar) == [0, 1, 2]
    assert log.getvalue().strip() == ""
    assert (bar.mininterval, bar.delay) == (10.0, 10.0)


def test_it_can_begin_in_the_middle(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = progress_bar(iter("cd"), title="reading", unit="letter", hidden=False, total=4, initial=2)
    assert (bar.total, bar.n) == (4, 2)
    assert list(bar) == ["c", "d"]
    assert bar.n == 4
