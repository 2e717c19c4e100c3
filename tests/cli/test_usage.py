"""Wrong usage: one short line that names the nearest right form, and no parser's internals."""

import pytest

from mobileone.cli import reference


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["predcit"], "unknown command 'predcit'; did you mean predict?; see mobileone --help"),
        (["--verson"], "unknown option '--verson'; see mobileone --help"),
        (["info"], "needs MODEL; see mobileone info --help"),
        (["explain"], "needs MODEL and --png PATH; see mobileone explain --help"),
        (
            ["info", "a", "--input-sze", "3"],
            "unknown option --input-sze; did you mean --input-size?; see mobileone info --help",
        ),
        (
            ["test", "m", "--data", "d", "--batch_sise=3"],
            "unknown option --batch_sise; did you mean --batch-size?; see mobileone test --help",
        ),
        (["train", "--dry"], "unknown option --dry; did you mean --dry-run?; see mobileone train --help"),
        (["info", "a", "--zzz"], "unknown option --zzz; see mobileone info --help"),
        (["info", "a", "b c"], "unexpected argument 'b c'; see mobileone info --help"),
        (
            ["info", "a", "--input-size", "x"],
            "--input-size wants SIDE|HxW, got 'x'; see mobileone info --help",
        ),
        (
            ["predict", "m", "i", "--topk", "x"],
            "--topk wants a whole number, got 'x'; see mobileone predict --help",
        ),
        (
            ["test", "m", "--data", "d", "--crop", "x"],
            "--crop wants a number, got 'x'; see mobileone test --help",
        ),
        (["test", "m", "--data"], "--data needs a value; see mobileone test --help"),
        (
            ["convert", "a", "-o", "b", "--to", "appel"],
            "--to must be one of apple, mmpretrain, reference, timm, got 'appel'; did you mean apple?; "
            "see mobileone convert --help",
        ),
        (
            ["train", "--resume", "maybe"],
            "--resume takes nothing or auto, got maybe; see mobileone train --help",
        ),
    ],
)
def test_a_complaint_is_short_and_names_the_nearest_right_form(run, arguments, line):
    assert run(*arguments) == (2, "", f"mobileone: usage: {line}\n")


def test_without_a_command_the_commands_are_named(run):
    code, _, err = run()
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("mobileone: usage: needs a command, one of train, report, test,")


def test_the_width_of_the_terminal_does_not_matter(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    _, _, err = run("info", "a", "--input-sze", "3", "x" * 300)
    assert err.startswith("mobileone: usage: unknown option --input-sze; did you mean --input-size?")


def test_a_list_says_what_it_wants(run):
    _, _, err = run("bench", "mobileone_s0", "--threads", "1,x")
    assert err.startswith("mobileone: usage: --threads: ")
    assert "whole numbers with commas, got '1,x'" in err
    assert "<class" not in err


def test_the_reference_command_line_complains_alike(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["main.py", "--epoch", "3"])
    with pytest.raises(SystemExit) as stop:
        reference.main("ImageNet")
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "main.py: usage: unknown option --epoch; did you mean --epochs?; see main.py --help\n"
    )
