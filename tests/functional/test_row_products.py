import pytest
import torch

from mobileone.functional import row_products
from mobileone.functional.row_products import multiplies_by_convolution, multiply_columns, multiply_rows


@pytest.fixture(params=[(True, "AVX512"), (True, "AVX2"), (False, "AVX512")], ids=str)
def by_convolution(request, monkeypatch):
    """Whether large products are convolutions on the processor that this process is made to believe in."""
    amd, capability = request.param
    monkeypatch.setattr(row_products, "is_amd", lambda: amd)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    return amd and capability == "AVX512" and torch.backends.mkldnn.is_available()


@pytest.mark.usefixtures("by_convolution")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num", [64, 37, 3])  # images of torch's choice, one, and too few for a convolution
def test_products_are_torchs(num, dtype):
    rows, other = torch.randn(num, 12, dtype=dtype)[:, :7], torch.randn(num, 5, dtype=dtype)
    matrix, bias = torch.randn(5, 7, dtype=dtype).T, torch.randn(5, dtype=dtype)
    tolerance = {"rtol": 1e-5, "atol": 1e-5}
    assert torch.allclose(multiply_rows(rows, matrix, bias), rows @ matrix + bias, **tolerance)
    assert torch.allclose(multiply_rows(rows, matrix), rows @ matrix, **tolerance)
    assert torch.allclose(multiply_columns(rows, other), rows.T @ other, **tolerance)
    assert multiply_rows(rows, matrix).is_contiguous()


def test_on_amd_with_avx512_many_rows_in_float32_are_a_convolution_of_onednn_on_one_thread_too(
    by_convolution,
):
    rows, matrix = torch.randn(64, 8), torch.randn(8, 8)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with torch.profiler.profile() as profile:
            multiply_rows(rows, matrix)
            multiply_columns(rows, rows)
    finally:
        torch.set_num_threads(threads)
    names = {event.key for event in profile.key_averages()}
    assert ("aten::mkldnn_convolution" in names) is by_convolution
    assert ("aten::mm" in names) is not by_convolution


def test_few_rows_and_other_dtypes_are_matrix_products(by_convolution):
    assert multiplies_by_convolution(torch.zeros(64, 8), 64) is by_convolution
    assert not multiplies_by_convolution(torch.zeros(64, 8), 65)
    assert not multiplies_by_convolution(torch.zeros(64, 65), 8)
    assert not multiplies_by_convolution(torch.zeros(64, 8, dtype=torch.float64), 8)
