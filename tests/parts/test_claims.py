"""Locks on parts, between processes."""

import subprocess
import sys

import pytest

from mobileone.errors import MobileOneError
from mobileone.parts import claims as claims_module
from mobileone.parts.claims import Claim, Claims

pytest.importorskip("fcntl", reason="locks of byte ranges are POSIX's")
OTHER = """
import sys
from pathlib import Path
from mobileone.parts.claims import Claims
claims = Claims(Path(sys.argv[1]))
for line in sys.stdin:
    what, number = line.split()
    print(getattr(claims, what)(int(number)), flush=True)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that has claims of its own: `ask("take 3")` gives what it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, tmp_path / "claims"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(line):
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    yield process, ask
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_part_is_one_process_s_until_it_gives_it_up_or_is_killed(tmp_path, other):
    process, ask = other
    claims = Claims(tmp_path / "claims")
    assert claims.work
    assert ask("take 3") == "Claim.TAKEN"
    assert claims.take(3) is Claim.BUSY
    assert claims.take(4) is Claim.TAKEN
    assert ask("take 4") == "Claim.BUSY"
    claims.release(4)
    assert ask("take 4") == "Claim.TAKEN"
    process.kill()
    process.wait()
    assert [claims.take(number) for number in (3, 4)] == [Claim.TAKEN] * 2
    assert (tmp_path / "claims").stat().st_size == 0


def test_a_part_that_failed_is_told_from_one_in_work_by_any_number_of_processes(tmp_path, other):
    process, ask = other
    claims = Claims(tmp_path / "claims")
    ask("take 0")
    ask("mark_failed 0")
    assert claims.take(0) is Claim.FAILED
    assert claims.take(0) is Claim.FAILED
    assert ask("take 0") == "Claim.TAKEN", "whoever tried it may try it again"
    process.kill()
    process.wait()
    assert claims.take(0) is Claim.TAKEN


def test_a_part_that_is_finished_while_one_asks_has_not_failed(tmp_path, other, monkeypatch):
    _, ask = other
    claims = Claims(tmp_path / "claims")
    ask("take 0")
    refused = claims._locked

    def locked(number, *, exclusive):
        had = refused(number, exclusive=exclusive)
        ask("release 0")
        return had

    monkeypatch.setattr(claims, "_locked", locked)
    assert claims.take(0) is Claim.BUSY
    assert claims.take(0) is Claim.TAKEN


def test_without_locks_everybody_may_have_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(claims_module, "fcntl", None)
    claims = Claims(tmp_path / "claims")
    assert not claims.work
    with claims.setting_up():
        assert claims.take(0) is Claim.TAKEN
    claims.mark_failed(0)
    claims.release(0)


def test_a_folder_that_is_not_there_is_an_error_of_ours(tmp_path):
    with pytest.raises(MobileOneError, match="cannot write"):
        Claims(tmp_path / "nowhere" / "claims")
