"""The choices of `--format` are the table's."""

from dataclasses import replace

import pytest

from mobileone.backends.table import BACKENDS
from mobileone.cli.main import main


def error_of(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_another_name_is_wrong_usage_and_the_known_ones_are_told(capsys):
    error = error_of(["export", "m", "-o", "out", "--format", "tensorrt"], capsys)
    assert "'tensorrt'" in error
    assert all(f"'{name}'" in error for name in BACKENDS)
    error = error_of(["quantize", "m", "--calib", ".", "-o", "out", "--format", "ncnn"], capsys)
    assert "'litert'" in error
    assert "'coreml'" not in error


def test_a_new_line_of_the_table_is_a_choice(capsys, monkeypatch):
    monkeypatch.setitem(BACKENDS, "toy", replace(BACKENDS["torch"], name="toy", suffix=".toy"))
    assert main(["export", "no_such_model", "-o", "out", "--format", "toy"]) == 1
    assert "no model no_such_model" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert "toy" in capsys.readouterr().out
