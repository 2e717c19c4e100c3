"""From arguments to an exit code, with one line on stderr where something is wrong."""

import gc
import os
import subprocess
import sys
import warnings
from importlib.metadata import version

import pytest

from mobileone.cli.main import COMMANDS, find_command, guard, read_command, run_and_end
from mobileone.errors import ConfigError, MobileOneWarning, PreemptedError


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("wanted this,\n got that"), 1, "mobileone: error: wanted this, got that"),
        (PreemptedError("stopped and saved"), 75, "mobileone: stopped and saved"),
        (KeyboardInterrupt(), 130, "mobileone: interrupted"),
        (PermissionError(13, "Permission denied", "a/b"), 1, "mobileone: error: a/b: Permission denied"),
        (OSError(28, "No space left on device"), 1, "mobileone: error: No space left on device"),
        (OSError("something\nof a library's"), 1, "mobileone: error: something of a library's"),
    ],
)
def test_errors_are_a_line_and_a_code(capsys, error, code, line):
    assert guard(raising(error), prog="mobileone") == code
    assert capsys.readouterr() == ("", f"{line}\n")


def test_a_warning_of_ours_is_a_note_and_told_once(capsys):
    def work():
        for _ in range(2):
            warnings.warn("took these,\n not those", MobileOneWarning, stacklevel=1)
        return 3

    assert guard(work, prog="mobileone") == 3
    assert capsys.readouterr() == ("", "mobileone: note: took these, not those\n")


LONG = "a" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", LONG),
        ("predict", "mobileone_s0", LONG),
        ("predict", "mobileone_s0", "photo.jpg", "-o", f"{LONG}.csv"),
        ("embed", "mobileone_s0", ".", "-o", f"{LONG}.npy"),
        ("test", "mobileone_s0", "--data", LONG),
        ("export", "mobileone_s0", "--format", "onnx", "-o", f"{LONG}.onnx"),
        ("check-data", LONG),
        ("calibrate", LONG, "--data", "digits"),
        ("profile", LONG),
        ("profile", f"{LONG}.onnx"),
        ("bench", LONG),
    ],
    ids=" ".join,
)
def test_a_name_that_is_too_long_is_one_line(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("mobileone: error: ")
    assert "File name too long" in err
    assert LONG in err
    assert err.count("\n") == 1


def test_a_bug_stays_a_traceback():
    with pytest.raises(ZeroDivisionError):
        guard(raising(ZeroDivisionError()), prog="mobileone")


@pytest.mark.parametrize(
    ("arguments", "wanted"), [(["predcit"], "predcit"), (["info"], "MODEL"), ([], "train")]
)
def test_wrong_usage_is_one_line(run, arguments, wanted):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("mobileone: usage: ")
    assert wanted in err
    assert err.count("\n") == 1


def test_version_is_told_without_loading_torch(run):
    code, out, err = run("--version")
    assert (code, err) == (0, "")
    assert out == f"mobileone {version('mobileone')}, torch {version('torch')}\n"
    assert "mobileone --version" in " ".join(run("--help")[1].split())
    code = """
import sys; from mobileone.cli.main import main
main(['--version']); sys.exit('torch' in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, out)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_or_few_words(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert find_command(name).__doc__.splitlines()[0].split()[0] in out


def test_a_command_is_read_and_not_run():
    command = read_command(["info", "nowhere", "--input-size", "64"])
    assert (command.model, command.input_size) == ("nowhere", 64)


@pytest.mark.skipif(os.name != "posix", reason="pipes of a shell")
@pytest.mark.parametrize("arguments", [["weights"], ["check-data", "photos", "--workers", "0", "--json"]])
def test_a_reader_that_has_gone_is_no_success_and_no_line(photos, tmp_path, arguments):
    (photos / "train" / "cat" / "bad.jpg").write_bytes(b"not a picture")
    command = [sys.executable, "-m", "mobileone", *arguments]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        told = process.stderr.read().decode()
    assert process.returncode == 141
    assert "Traceback" not in told
    assert "Broken pipe" not in told


@pytest.mark.parametrize("with_torch", [True, False])
def test_a_process_ends_with_the_commands_code_and_without_torch_looks_through_nothing(
    monkeypatch, with_torch
):
    if not with_torch:
        monkeypatch.delitem(sys.modules, "torch")
    try:
        assert run_and_end(lambda: 7) == 7
        assert bool(gc.get_freeze_count()) is not with_torch
    finally:
        gc.unfreeze()
