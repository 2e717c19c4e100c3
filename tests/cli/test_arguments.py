"""Lists in one word, and formats of the table."""

from dataclasses import dataclass, replace
from typing import Annotated

import pytest
import tyro

from mobileone.backends.table import BACKENDS
from mobileone.cli.arguments import NAMES, NUMBERS, comma_list
from mobileone.cli.main import main


@dataclass(frozen=True)
class Lists:
    names: Annotated[tuple[str, ...], NAMES] = ("all",)
    numbers: Annotated[tuple[int, ...], NUMBERS] = (1,)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], Lists(("all",), (1,))),
        (["--names", "onnx, openvino,", "--numbers", "1,64"], Lists(("onnx", "openvino"), (1, 64))),
        (["--names", ","], Lists((), (1,))),
    ],
)
def test_a_list_is_one_word_with_commas(arguments, wanted):
    assert tyro.cli(Lists, args=arguments) == wanted


def test_help_shows_the_default_as_one_writes_it(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(Lists, args=["--help"], default=Lists(numbers=(1, 2)))
    assert "1,2" in capsys.readouterr().out


def test_an_entry_of_another_kind_is_named():
    with pytest.raises(ValueError, match="halves with commas, got '1,x'"):
        comma_list(float, "halves").instance_from_str(["1,x"])


def usage_of(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_another_name_is_wrong_usage_and_the_known_ones_are_told(capsys):
    error = usage_of(["export", "m", "-o", "out", "--format", "tensorrt"], capsys)
    assert "'tensorrt'" in error
    assert all(name in error for name in BACKENDS)
    error = usage_of(["quantize", "m", "--calib", ".", "-o", "out", "--format", "ncnn"], capsys)
    assert "litert, " in error
    assert "coreml" not in error


def test_a_new_line_of_the_table_is_a_choice(capsys, monkeypatch):
    monkeypatch.setitem(BACKENDS, "toy", replace(BACKENDS["torch"], name="toy", suffix=".toy"))
    assert main(["export", "no_such_model", "-o", "out", "--format", "toy"]) == 1
    assert "no model no_such_model" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert "toy" in capsys.readouterr().out
