import functools
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys

import pytest
import torch

from mobileone.functional.kernels import availability

C_SOURCES = ("affine", "branch_stack", "depthwise_convolution", "depthwise_moments")


def test_libraries_are_all_or_nothing(no_kernels_yet, monkeypatch):
    assert availability.has_kernels(C_SOURCES[:1], torch.float32)
    monkeypatch.setenv("CC", "there-is-no-such-compiler")
    with pytest.warns(RuntimeWarning, match="kernels are not available"):
        assert not availability.has_kernels(C_SOURCES[:2], torch.float32)
    assert availability.has_kernels((), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_source_compiles(dtype):
    assert availability.has_kernels(C_SOURCES, dtype)


def test_without_triton_it_says_so_once(monkeypatch):
    monkeypatch.setattr(availability, "has_triton", functools.cache(availability.has_triton.__wrapped__))
    assert availability.has_triton() == (importlib.util.find_spec("triton") is not None)
    availability.has_triton.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.warns(RuntimeWarning, match=r"Triton is not installed; .* plain torch, .*mobileone\[gpu\]"):
        assert not availability.has_triton()
    assert not availability.has_triton(), "a second time without a warning"


def test_a_triton_without_tuples_is_too_old(monkeypatch):
    monkeypatch.setattr(availability, "has_triton", functools.cache(availability.has_triton.__wrapped__))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "3.2.0")
    with pytest.warns(RuntimeWarning, match=r"Triton is 3\.2\.0, and the kernels want 3\.3, .* torch 2\.7"):
        assert not availability.has_triton()
    availability.has_triton.cache_clear()
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "3.10.1+git")
    assert availability.has_triton()


@pytest.mark.parametrize(
    ("compiler", "told"),
    [("", r"needs a C compiler, and there is none; .* Install gcc or clang"), ("no-such-cc", "no-such-cc")],
)
def test_a_triton_without_a_c_compiler_cannot_start_kernels(monkeypatch, compiler, told):
    monkeypatch.setattr(availability, "has_triton", functools.cache(availability.has_triton.__wrapped__))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "3.6.0")
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.warns(RuntimeWarning, match=told):
        assert not availability.has_triton()


@pytest.mark.parametrize("module", ["mobileone.inference.predictor", "mobileone.training.run.fit"])
def test_importing_does_not_load_torchs_compiler(module):
    check = f"import {module}, sys; assert 'torch._dynamo' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
