"""In Triton's interpreter against autograd in float64, and compiled for three kinds of GPU."""

import pytest
import torch

CASES = """
import torch
from torch.nn import functional as F
from mobileone.functional.kernels.depthwise_backward_triton import add_moments_gradient_, input_gradient
from mobileone.functional.online.moments import reference_moments
from mobileone.functional.window import Window

torch.manual_seed(0)
for shape, stride, dtype, relu in {cases}:
    dtype, window, c = getattr(torch, dtype), Window((3, 3), (stride, stride), (1, 1)), shape[1]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2  # results are rounded to half precision
    x = (torch.randn(shape) + 1).to(dtype).contiguous(memory_format=torch.channels_last)
    kernel, shift = torch.randn(9, c), torch.randn(c)
    exact = x.double().requires_grad_()
    out = F.conv2d(exact, kernel.T.reshape(c, 1, 3, 3).double(), None, stride, 1, 1, c)
    out = out.relu() if relu else out
    grad = torch.randn(out.shape).to(dtype).contiguous(memory_format=torch.channels_last)
    moments = reference_moments(exact, window, groups=c)
    of_mean, of_cov = torch.randn(c, 9).double(), torch.randn(c, 9, 9).double()
    by_moments = (moments.mean * of_mean).sum() + (moments.cov * of_cov).sum()
    (alone,) = torch.autograd.grad(by_moments, exact, retain_graph=True)
    (wanted,) = torch.autograd.grad((out * grad.double()).sum() + by_moments, exact)
    slopes = (of_cov + of_cov.mT) / moments.num
    centred = (moments.mean.detach() - shift.unsqueeze(1)).unsqueeze(2)
    offsets = of_mean / moments.num - (slopes @ centred).squeeze(2)
    small = slopes.flatten(1).T.float().contiguous(), offsets.T.float().contiguous()
    result = out.detach().to(dtype).contiguous(memory_format=torch.channels_last) if relu else None
    got = input_gradient(x, shift, *small, grad, result, kernel, window)
    assert (got - wanted).abs().max() < tolerance * wanted.abs().max(), (shape, stride, dtype)
    start = torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)
    added = start.clone()
    add_moments_gradient_(added, x, shift, *small, window)
    error = (added.double() - start.double() - alone).abs().max()
    assert error < tolerance * added.abs().max(), (shape, stride, dtype)
print("all cases")
"""
SMALL = [((1, 2, 5, 4), 1, "float32", True), ((1, 2, 4, 4), 2, "bfloat16", True)]
MORE = [
    ((2, 5, 7, 13), 1, "float32", True),
    ((2, 33, 6, 9), 2, "bfloat16", True),
    ((1, 3, 1, 1), 1, "float32", False),
    ((1, 48, 14, 2), 1, "float16", True),
    ((3, 17, 3, 4), 1, "float32", False),
    ((1, 3, 6, 1), 2, "float32", True),
    ((2, 16, 5, 8), 2, "float32", False),
    ((1, 16, 20, 3), 1, "float32", True),  # in strips of rows
    ((1, 16, 33, 4), 2, "float32", True),
]


def test_triton_input_gradient_is_autograds(interpreted):
    assert interpreted(CASES.format(cases=SMALL)) == "all cases"


@pytest.mark.slow
def test_triton_input_gradient_at_odd_sizes(interpreted):
    assert interpreted(CASES.format(cases=MORE)) == "all cases"


@pytest.mark.parametrize(
    ("arch", "dtype"),
    [(90, "bf16"), *(pytest.param(a, d, marks=pytest.mark.slow) for a in (80, 86) for d in ("bf16", "fp32"))],
)
@pytest.mark.parametrize("block", [16, 64])
@pytest.mark.parametrize(
    ("name", "stride"),
    [("_inner_kernel", 1), ("_inner_kernel", 2), ("_edge_kernel", 2), ("_stencil_kernel", 2)],
)
def test_triton_input_gradient_compiles_without_spills(compile_for, arch, dtype, block, name, stride):
    from mobileone.functional.kernels import depthwise_backward_triton as kernels

    walk = {"add": False, "relu": True, "block_channels": block}
    constants = {"stride": stride} | {
        "_inner_kernel": walk | {"block_columns": kernels.COLUMNS},
        "_edge_kernel": walk | {"block_pixels": kernels.FRAME_PIXELS},
        "_stencil_kernel": {"block": block},
    }[name]
    warps = 1 if name == "_stencil_kernel" else block // 16
    options = {}
    if name == "_inner_kernel":
        options = kernels.register_limit(stride, torch.float32 if dtype == "fp32" else torch.bfloat16)
    made = compile_for(getattr(kernels, name), arch, dtype, warps=warps, options=options, **constants)
    assert made.stack_bytes == 0
    assert made.registers <= 200
    assert made.shared_bytes == made.shuffles == 0, "nothing is exchanged between threads"
    assert made.instructions < 3000
