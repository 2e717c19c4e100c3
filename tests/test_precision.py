"""Mixed precision by device."""

import subprocess
import sys

import pytest
import torch

from mobileone.errors import ConfigError
from mobileone.precision import autocast, check_dtype, float32_products, resolve_amp


def test_amp_on_a_cpu_is_off_unless_asked_for() -> None:
    cpu = torch.device("cpu")
    assert [resolve_amp(a, cpu) for a in ("auto", "off", "bf16", "fp16")] == [None, None, "bf16", "fp16"]


def test_autocast_is_on_where_it_is_asked_for() -> None:
    cpu = torch.device("cpu")
    x = torch.ones(2, 2)
    for amp, dtype in ((None, torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        with autocast(cpu, amp):
            assert (x @ x).dtype == dtype


@pytest.mark.gpu
def test_amp_on_a_gpu_is_the_dtype_that_it_computes_natively() -> None:
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    assert resolve_amp("auto", torch.device("cuda")) == ("bf16" if native else "fp16")


def test_tensorfloat_is_chosen_within_and_put_back() -> None:
    before = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    for tf32 in (True, False):
        with float32_products(tf32=tf32):
            assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is tf32
    with pytest.raises(ZeroDivisionError), float32_products(tf32=True):
        _ = 1 / 0
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9 has one switch")
def test_what_the_user_chose_by_torchs_newer_names_comes_back() -> None:
    """The older ones cannot even be read then. In a new process: which names were used before counts."""
    code = """
import torch
from mobileone.precision import float32_products
conv = torch.backends.cudnn.conv
conv.fp32_precision = "ieee"
with float32_products(tf32=True):
    assert conv.fp32_precision == torch.backends.cuda.matmul.fp32_precision == "tf32"
assert conv.fp32_precision == "ieee", conv.fp32_precision
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("chosen", ["highest", "high", "medium"])
def test_what_the_user_chose_for_products_can_be_read_within_and_comes_back(chosen: str) -> None:
    """Torch's compiler reads it, also where a script has set it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(chosen)
    try:
        for tf32 in (True, False):
            with float32_products(tf32=tf32):
                assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
            assert torch.get_float32_matmul_precision() == chosen
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("wrong", ["float16", torch.int8, torch.complex64, float, None])
def test_only_floating_point_types_are_dtypes(wrong) -> None:
    assert check_dtype(torch.bfloat16) is torch.bfloat16
    with pytest.raises(
        ConfigError, match=r"dtype must be a floating-point torch\.dtype such as torch\.float16, got"
    ):
        check_dtype(wrong)
