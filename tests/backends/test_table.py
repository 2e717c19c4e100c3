"""The table and the folders say the same."""

from pathlib import Path

import pytest

import mobileone.backends
from mobileone.backends.table import BACKENDS, backend_of, find_backend, load_part, require, writing
from mobileone.errors import ConfigError, MissingExtraError

FOLDER = Path(mobileone.backends.__file__).parent


def promised(backend):
    """The parts that a line of the table promises."""
    parts = {
        "session": bool(backend.executes),
        "writer": "fp32" in backend.writes,
        "writer_int8": "int8" in backend.writes,
    }
    return {part for part, there in parts.items() if there}


def test_every_folder_is_a_line_of_the_table():
    assert {path.parent.name for path in FOLDER.glob("*/__init__.py")} == set(BACKENDS)


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=lambda backend: backend.name)
def test_a_folder_holds_what_its_line_promises(backend):
    files = {path.stem for path in (FOLDER / backend.name).glob("*.py")}
    assert files & {"session", "writer", "writer_int8"} == promised(backend)
    for part in promised(backend):
        assert load_part(backend, part).__name__.endswith(f"{backend.name}.{part}")


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=lambda backend: backend.name)
def test_a_line_does_not_contradict_itself(backend):
    assert (backend.int8_head is not None) == ("int8" in backend.writes)
    assert (backend.elsewhere == "") == bool(backend.executes)
    assert backend_of(f"net{backend.suffix}") is backend
    assert find_backend(backend.name) is backend


def test_no_suffix_ends_in_another():
    suffixes = [backend.suffix for backend in BACKENDS.values()]
    assert [(a, b) for a in suffixes for b in suffixes if a != b and a.endswith(b)] == []


def test_suffixes_are_known_in_capitals_and_other_files_are_not():
    assert backend_of("NET.ONNX").name == "onnx"
    assert backend_of("net.param") is None


def test_what_a_precision_is_written_in():
    assert writing("int8") == ["onnx", "openvino", "litert", "executorch", "c"]
    assert set(writing("fp32")) >= set(writing("fp16"))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"must be one of onnx, openvino.*got 'tensorrt'"):
        find_backend("tensorrt")


def test_a_missing_package_names_its_extra():
    with pytest.raises(MissingExtraError, match=r"ncnn needs no_such_thing .*'mobileone\[ncnn\]'"):
        require("no_such_thing.part", BACKENDS["ncnn"])
