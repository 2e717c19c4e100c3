"""Writers are found by the table, and each has what its protocol asks for."""

import inspect
from dataclasses import replace

import pytest

from mobileone.backends.table import BACKENDS, writing
from mobileone.backends.writer import (
    Int8Writer,
    Writer,
    check_installed,
    find_int8_writer,
    find_writer,
)
from mobileone.errors import ConfigError


def arguments(function):
    """Names of a function's parameters, `self` left out."""
    return [name for name in inspect.signature(function).parameters if name != "self"]


def offered(protocol):
    return [name for name, value in vars(protocol).items() if callable(value) and not name.startswith("_")]


@pytest.mark.parametrize("name", writing("fp32"))
def test_every_writer_fits_the_protocol(name):
    for function in offered(Writer):
        assert arguments(getattr(find_writer(name), function)) == arguments(getattr(Writer, function))


@pytest.mark.parametrize("name", writing("int8"))
def test_every_int8_writer_fits_the_protocol(name):
    for function in offered(Int8Writer):
        wanted = [
            each
            for each in arguments(getattr(Int8Writer, function))
            if name == "c" or each != "symbols"  # only source code has names of functions
        ]
        assert arguments(getattr(find_int8_writer(name), function)) == wanted


def test_a_format_without_int8_is_refused_with_those_that_have_it():
    with pytest.raises(ConfigError, match=r"int8 is written as onnx, openvino.*got 'ncnn'"):
        find_int8_writer("ncnn")
    with pytest.raises(ConfigError, match=r"int8 is written as onnx.*got 'tensorrt'"):
        find_int8_writer("tensorrt")


def test_a_backend_of_int8_alone_exports_no_floats(monkeypatch):
    alone = replace(BACKENDS["litert"], name="litert", writes=("int8",))
    monkeypatch.setitem(BACKENDS, "litert", alone)
    with pytest.raises(ConfigError, match=r"litert holds int8 networks only.*one of onnx, openvino"):
        find_writer("litert")
    pytest.importorskip("ai_edge_litert", reason="needs mobileone[litert]")
    check_installed("litert")  # by its int8 writer
