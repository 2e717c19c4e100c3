"""In Triton's interpreter against torch's convolution in float64, and compiled for three kinds of GPU."""

import pytest

CASES = """
import torch
from torch.nn import functional as F
from mobileone.functional.kernels.depthwise_convolution_triton import convolution, kernel_gradient
from mobileone.functional.window import Window

torch.manual_seed(0)
for shape, stride, dtype, relu in {cases}:
    dtype, window = getattr(torch, dtype), Window((3, 3), (stride, stride), (1, 1))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2  # results are rounded to half precision
    c = shape[1]
    x = torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)
    kernel, bias, shift = torch.randn(9, c), torch.randn(c), torch.randn(c)
    out = convolution(x, kernel, bias, window, relu=relu)
    assert out.dtype == dtype and out.is_contiguous(memory_format=torch.channels_last)
    weight = kernel.T.reshape(c, 1, 3, 3).double().requires_grad_()
    offset = bias.double().requires_grad_()
    wanted = F.conv2d(x.double(), weight, offset, stride, 1, 1, c)
    wanted = wanted.relu() if relu else wanted
    assert (out - wanted).abs().max() < tolerance * wanted.abs().max(), (shape, stride, dtype)
    grad = torch.randn(wanted.shape).to(dtype).contiguous(memory_format=torch.channels_last)
    sums = kernel_gradient(x, shift, grad, out if relu else None, window)
    of_weight, of_bias = torch.autograd.grad(wanted, (weight, offset), grad.double())
    assert (sums[9] - of_bias).abs().max() < 1e-4, (shape, stride, dtype)
    got = sums[:9] + sums[9] * shift
    assert (got.T - of_weight.flatten(1)).abs().max() < 1e-4 * of_weight.abs().max().clamp(min=1)
x = torch.zeros(1, 16, 3, 3).contiguous(memory_format=torch.channels_last)
x[0, 0, 0, 0] = float("nan")
out = convolution(x, torch.ones(9, 16), torch.zeros(16), Window((3, 3), (1, 1), (1, 1)), relu=True)
assert out[0, 0, 0, 0].isnan() and out[0, 1:].sum() == 0, "NaN stays NaN behind the ReLU"
print("all cases")
"""
SMALL = [((1, 3, 5, 9), 1, "float32", True), ((1, 5, 4, 5), 2, "bfloat16", True)]
MORE = [
    ((2, 5, 7, 13), 1, "float32", False),
    ((2, 33, 6, 9), 2, "bfloat16", True),
    ((1, 3, 1, 1), 2, "float32", False),
    ((1, 48, 14, 2), 1, "float16", True),
    ((1, 16, 33, 5), 1, "float32", True),  # in strips of rows
    ((1, 16, 34, 3), 2, "float32", True),
]


def test_triton_convolution_and_its_kernels_gradient_are_torchs(interpreted):
    assert interpreted(CASES.format(cases=SMALL)) == "all cases"


@pytest.mark.slow
def test_triton_convolution_at_odd_sizes(interpreted):
    assert interpreted(CASES.format(cases=MORE)) == "all cases"


@pytest.mark.parametrize(
    ("arch", "dtype"),
    [(90, "bf16"), *(pytest.param(a, d, marks=pytest.mark.slow) for a in (80, 86) for d in ("bf16", "fp32"))],
)
@pytest.mark.parametrize("block", [16, 64])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", ["_convolution_kernel", "_kernel_gradient_kernel"])
def test_triton_convolution_compiles_without_spills(compile_for, arch, dtype, block, stride, name):
    from mobileone.functional.kernels import depthwise_convolution_triton as kernels

    kernel = getattr(kernels, name)
    constants = {"stride": stride, "relu": True, "block_columns": kernels.COLUMNS, "block_channels": block}
    made = compile_for(kernel, arch, dtype, warps=block // 16, **constants)
    assert made.stack_bytes == 0
    assert made.registers <= 128
    assert made.shared_bytes <= 1024
    assert made.widest_load >= 64
    assert made.instructions < 2000
